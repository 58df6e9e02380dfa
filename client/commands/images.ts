import type { Command } from 'commander';
import type { ImageEntry } from '../../core/wire/results.js';
import { formatJson, formatTable, print, shortenDigest } from '../output.js';
import { findOciId } from '../find-oci-id.js';
import { connectFor, wantsJson } from './globals.js';

const HELP = `
Of a name that was given to a container image its id is shown, too, where the
repository can be read.

Examples:
  cfsctl images
  cfsctl --json images | jq -r '.[].digest'`;

export function addImagesCommand(program: Command): void {
  program
    .command('images')
    .description('list the images you may mount')
    .option('--wide', 'whole digests')
    .addHelpText('after', HELP)
    .action(({ wide }: { wide?: true }, command: Command) => {
      using client = connectFor(command);
      const images = client.listImages().map(withOciId);
      if (wantsJson(command)) return print(formatJson(images));
      const rows = images.map(({ name, digest, type, rule, repository, oci }) => {
        const shown = oci === undefined ? type : `${type} (oci ${wide === true ? oci : oci.slice(0, 12)})`;
        return [name, wide === true ? digest : shortenDigest(digest), shown, rule, repository];
      });
      print(formatTable(['NAME', 'DIGEST', 'TYPE', 'RULE', 'REPOSITORY'], rows));
    });
}

/** For JSON, too: what was given to no container image is shown as ever. */
function withOciId(image: ImageEntry): ImageEntry & { readonly oci?: string } {
  const oci = findOciId(image);
  return oci === undefined ? image : { ...image, oci };
}
