import { type Command, Option } from 'commander';
import type { VerityAlgorithm } from '../../core/image/digest.js';
import { wantsJson } from './globals.js';

const HELP = `
Writes IMAGE.p7s, what \`fsverity sign\` would: a PKCS#7 signature over the image's
fs-verity digest, which is computed here. Both KEY and CERT are PEM, as openssl
makes them, RSA of 2048 to 4096 bits or EC on P-256 or P-384; a rule of the policy
that trusts signatures trusts those of the certificates in keys.d.

Examples:
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \\
    -subj /CN=images -days 365 -keyout key.pem -out images.crt
  cfsctl sign --key key.pem --cert images.crt ./root.cfs
  sudo install -m 644 images.crt /etc/cfsmountd/keys.d/`;

interface Options {
  readonly key: string;
  readonly cert: string;
  readonly algorithm: VerityAlgorithm;
}

export function addSignCommand(program: Command): void {
  program
    .command('sign')
    .description('sign an image file')
    .argument('<IMAGE>', 'path of the image')
    .requiredOption('--key <file>', 'private key, without a passphrase')
    .requiredOption('--cert <file>', 'certificate of the key')
    .addOption(new Option('--algorithm <name>', 'hash algorithm of the digest').choices(['sha256', 'sha512']).default('sha256'))
    .addHelpText('after', HELP)
    .action(async (image: string, options: Options, command: Command) => {
      const { runSign } = await import('../offline.js');
      runSign(image, { ...options, json: wantsJson(command) });
    });
}
