import type { Command } from 'commander';
import { addRepositoryOption, repositoryOptionsOf } from './repository-options.js';

const HELP = `
SRC is
  a directory      its files become objects, as with cfsctl mkfs
  a dump file      as composefs-dump(5) has it; - is standard input
  an image         composefs or plain EROFS, taken over byte by byte
Objects that a dump or an image needs and the repository lacks come from
--objects; each is checked on its way in. A repository is made if there is none.

NAME is parts of A-Z a-z 0-9 _ . - joined by /. An image that had the name loses
it. Whatever ends the command, the repository is as good as it was: run it again.

Prints the image's fs-verity digest, and what makes the service trust it.

Examples:
  sudo cfsctl import ./tree team/base
  cfsctl import --repo ./repo --objects ./objects ./root.cfs base
  cfsctl --json import ./tree base | jq -r .digest`;

export function addImportCommand(program: Command): void {
  addRepositoryOption(program.command('import'))
    .description('put an image into a repository, under a name')
    .argument('<SRC>', 'directory, dump file or image')
    .argument('<NAME>', 'name to give it')
    .option('--objects <dir>', 'object store of an image or a dump file')
    .addHelpText('after', HELP)
    .action(async (source: string, name: string, { objects }: { objects?: string }, command: Command) => {
      const { runImport } = await import('../offline.js');
      await runImport(source, name, { ...repositoryOptionsOf(command), ...(objects === undefined ? {} : { objects }) });
    });
}
