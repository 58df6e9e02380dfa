import type { Command } from 'commander';

const HELP = `
The text is a composefs dump file. mkfs makes the same image of it again if the
image is canonical (cfsctl info says so) and of the version that mkfs chooses:
a version 1 image without whiteouts needs mkfs --min-version 1.

Examples:
  cfsctl dump ./root.cfs | grep ' @'
  cfsctl dump ./root.cfs | cfsctl mkfs --from-file - ./again.cfs`;

export function addDumpCommand(program: Command): void {
  program
    .command('dump')
    .description('print the tree of a composefs image file as a dump file')
    .argument('<IMAGE>', 'path of the image')
    .addHelpText('after', HELP)
    .action(async (image: string) => {
      const { runDump } = await import('../offline.js');
      runDump(image);
    });
}
