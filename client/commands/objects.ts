import type { Command } from 'commander';
import { wantsJson } from './globals.js';

const HELP = `
One path a line, below an object store, sorted by bytes, each once. Names are
shown as by ls. With --missing, the exit status is 0 also if some are missing.

Examples:
  cfsctl objects ./root.cfs | wc -l
  cfsctl objects ./root.cfs --missing ./objects | rsync --files-from=- host:/objects ./objects`;

export function addObjectsCommand(program: Command): void {
  program
    .command('objects')
    .description('list the objects that a composefs image file needs')
    .argument('<IMAGE>', 'path of the image')
    .option('--missing <store>', 'only those that this object store does not have')
    .addHelpText('after', HELP)
    .action(async (image: string, { missing }: { missing?: string }, command: Command) => {
      const { runObjects } = await import('../offline.js');
      runObjects(image, missing, wantsJson(command));
    });
}
