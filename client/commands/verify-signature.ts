import type { Command } from 'commander';
import { wantsJson } from './globals.js';

const HELP = `
Computes the image's fs-verity digest and looks whether a certificate in force
signed it. Without --cert those of the service's keys.d count, and what is revoked
there does not. Nothing is asked of the service, whose policy may still refuse.

Exit status: 0 signed, 1 not.

Examples:
  cfsctl verify-signature ./root.cfs
  cfsctl verify-signature --cert images.crt --signature ./root.sig ./root.cfs`;

interface Options {
  readonly signature?: string;
  readonly cert?: readonly string[];
}

export function addVerifySignatureCommand(program: Command): void {
  program
    .command('verify-signature')
    .description('say who signed an image file')
    .argument('<IMAGE>', 'path of the image')
    .option('--signature <file>', 'the signature (default: IMAGE.p7s)')
    .option('--cert <file>', 'certificate to trust; may be repeated (default: those of keys.d)', collect)
    .addHelpText('after', HELP)
    .action(async (image: string, options: Options, command: Command) => {
      const { runVerifySignature } = await import('../offline.js');
      runVerifySignature(image, { ...options, json: wantsJson(command) });
    });
}

function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}
