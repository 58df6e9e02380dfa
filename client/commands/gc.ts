import type { Command } from 'commander';
import { listServiceMounts } from '../service-mounts.js';
import type { GlobalOptions } from './globals.js';
import { addRepositoryOption, repositoryOptionsOf } from './repository-options.js';

const HELP = `
Kept are images with a name, images that are mounted, and what they need; an
image without a name is forgotten, as composefs-rs does it. Live mounts are those
that the service tells of (to root, everybody's) and those that the kernel shows
in /proc. If there is a service and it does not answer, nothing is removed; nor
if an image is mounted that is not in the repository, but may have its objects
there: say with --keep which image that is.

Nobody can import meanwhile, and it waits for imports to end: --timeout says how
long. Whatever ends the command, the repository is sound: run it again.

Examples:
  sudo cfsctl gc --dry-run
  cfsctl gc --repo ./repo --keep ./root.cfs`;

interface Options {
  readonly dryRun?: true;
  readonly keep?: readonly string[];
  readonly force?: true;
}

export function addGcCommand(program: Command): void {
  addRepositoryOption(program.command('gc'))
    .description('remove what no name and no live mount needs from a repository')
    .option('-n, --dry-run', 'say what would be removed, and remove nothing')
    .option('--keep <image>', 'image file whose objects are kept, too; may be repeated', collect)
    .option('--force', 'go on although an image is mounted that is not known')
    .addHelpText('after', HELP)
    .action(async ({ dryRun, keep = [], force }: Options, command: Command) => {
      const { runGc } = await import('../offline.js');
      const { address, timeout } = command.optsWithGlobals<GlobalOptions>();
      runGc({
        ...repositoryOptionsOf(command),
        dryRun: dryRun === true,
        keep,
        force: force === true,
        listServiceMounts: () => listServiceMounts({ address, timeoutMs: timeout * 1000 }),
      });
    });
}

function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}
