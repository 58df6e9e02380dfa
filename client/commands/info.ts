import type { Command } from 'commander';
import { wantsJson } from './globals.js';

const HELP = `
IMAGE is the path of a composefs image, which is read whole, or of a plain EROFS
image, of which kind, size and digests are told. The service is not asked.

A rule of the policy trusts an image by its digest. Canonical is an image whose
every byte follows from its tree, so that mkfs makes it again. An unpinned file
has no digest to check its object by; a misdirected one has its object
somewhere else than at the path of its digest.

Examples:
  cfsctl info ./root.cfs
  cfsctl --json info ./root.cfs | jq -r .digests.sha256`;

export function addInfoCommand(program: Command): void {
  program
    .command('info')
    .description('describe an image file: kind, digests, what is in it')
    .argument('<IMAGE>', 'path of the image')
    .addHelpText('after', HELP)
    .action(async (image: string, _options: unknown, command: Command) => {
      const { runInfo } = await import('../offline.js');
      runInfo(image, wantsJson(command));
    });
}
