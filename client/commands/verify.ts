import type { Command } from 'commander';
import { wantsJson } from './globals.js';

const HELP = `
Every object is read, its size compared and its fs-verity digest computed, also
where the kernel would check it. A file of the image without a digest, or
without a path to its object, cannot be verified and counts as a fault.

Exit status: 0 all as the image says, 1 not.

Examples:
  cfsctl verify ./root.cfs ./objects
  cfsctl --json verify ./root.cfs ./objects | jq -r '.faults[].path'`;

export function addVerifyCommand(program: Command): void {
  program
    .command('verify')
    .description('check every object that a composefs image file needs')
    .argument('<IMAGE>', 'path of the image')
    .argument('<STORE>', 'directory of the objects')
    .addHelpText('after', HELP)
    .action(async (image: string, store: string, _options: unknown, command: Command) => {
      const { runVerify } = await import('../offline.js');
      runVerify(image, store, wantsJson(command));
    });
}
