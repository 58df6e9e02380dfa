import type { Command } from 'commander';
import { formatJson, formatTable, print, shortenDigest } from '../output.js';
import { connectFor, wantsJson } from './globals.js';

const HELP = `
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
      const images = client.listImages();
      if (wantsJson(command)) return print(formatJson(images));
      const rows = images.map(({ name, digest, type, rule, repository }) => {
        return [name, wide === true ? digest : shortenDigest(digest), type, rule, repository];
      });
      print(formatTable(['NAME', 'DIGEST', 'TYPE', 'RULE', 'REPOSITORY'], rows));
    });
}
