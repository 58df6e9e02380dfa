import type { Command } from 'commander';
import { wantsJson } from './globals.js';

const HELP = `
Names are bytes: a backslash is shown as \\\\, what cannot be seen and what is not
UTF-8 as \\xHH, \\n, \\r or \\t. PATH is written the same way. Users and groups are
the image's numbers. A directory is listed, not described.

Exit status: 0 listed, 1 no such path, or not a composefs image.

Examples:
  cfsctl ls ./root.cfs /etc
  cfsctl ls -R ./root.cfs | grep rws
  cfsctl --json ls -R ./root.cfs | jq -r '.[] | select(.type == "character") | .path'`;

export function addLsCommand(program: Command): void {
  program
    .command('ls')
    .description('list a directory of a composefs image file, as ls -l does')
    .argument('<IMAGE>', 'path of the image')
    .argument('[PATH]', 'directory or file in it', '/')
    .option('-R, --recursive', 'everything below PATH, with whole paths')
    .addHelpText('after', HELP)
    .action(async (image: string, path: string, { recursive }: { recursive?: true }, command: Command) => {
      const { runLs } = await import('../offline.js');
      runLs(image, path, { recursive: recursive === true, json: wantsJson(command) });
    });
}
