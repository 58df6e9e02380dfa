import { Option, type Command } from 'commander';
import type { VerityAlgorithm } from '../../core/image/digest.js';
import { wantsJson } from './globals.js';

const HELP = `
The digest is computed here, whether or not the file system has fs-verity, and is
that of \`fsverity digest\`: 4096-byte blocks, no salt. A rule of the policy trusts
an image by it.

Examples:
  cfsctl digest root.cfs
  cfsctl digest --algorithm sha512 *.cfs`;

export function addDigestCommand(program: Command): void {
  program
    .command('digest')
    .description('print the fs-verity digest of files')
    .argument('<FILE...>', 'regular files')
    .addOption(new Option('--algorithm <name>', 'hash algorithm').choices(['sha256', 'sha512']).default('sha256'))
    .addHelpText('after', HELP)
    .action(async (files: string[], { algorithm }: { algorithm: VerityAlgorithm }, command: Command) => {
      const { runDigest } = await import('../offline.js');
      await runDigest(files, algorithm, wantsJson(command));
    });
}
