import { type Command, InvalidArgumentError } from 'commander';
import type { MkfsOptions } from '../store/run-mkfs.js';
import { wantsJson } from './globals.js';

const HELP = `
SRC is a directory or, with --from-file, a dump as composefs-dump(5) has it; - is
standard input. IMAGE is the file to write, which is replaced when all is done;
- is standard output. The image is that of mkcomposefs, byte for byte. Files of up
to 64 bytes are in the image, all others are objects beside it. The service is not
asked, and root is not needed.

Examples:
  cfsctl mkfs --digest-store objects tree root.cfs
  cfsctl mkfs --print-digest-only tree
  cfsctl dump root.cfs | cfsctl mkfs --from-file - again.cfs`;

export function addMkfsCommand(program: Command): void {
  program
    .command('mkfs')
    .description('make a composefs image of a directory or a dump')
    .argument('<SRC>', 'directory, or dump with --from-file')
    .argument('[IMAGE]', 'image to write')
    .option('--digest-store <dir>', 'copy the files to this object store, which is made if it is missing')
    .option('--from-file', 'SRC is a dump')
    .option('--print-digest', 'print the fs-verity digest of the image')
    .option('--print-digest-only', 'print it, and write no image')
    .option('--min-version <n>', 'lowest format version, 0 or 1', parseVersion)
    .option('--max-version <n>', 'highest format version, 0 or 1', parseVersion)
    .option('--use-epoch', 'all times are 1970-01-01 00:00')
    .option('--skip-devices', 'leave out device nodes')
    .option('--skip-xattrs', 'leave out extended attributes')
    .option('--user-xattrs', 'leave out extended attributes but user.*')
    .option('--hard-links', 'keep hard links; otherwise each name is a file of its own')
    .addHelpText('after', HELP)
    .action(async (source: string, image: string | undefined, options: MkfsOptions, command: Command) => {
      const json = wantsJson(command);
      requireConsistent(command, image, options, json);
      const { runMkfs } = await import('../offline.js');
      await runMkfs(source, image, options, json);
    });
}

function parseVersion(text: string): number {
  if (text === '0' || text === '1') return Number(text);
  throw new InvalidArgumentError('It must be 0 or 1.');
}

/** What says how a directory is read. */
const OF_DIRECTORIES = ['digestStore', 'useEpoch', 'skipDevices', 'skipXattrs', 'userXattrs', 'hardLinks'] as const;

function requireConsistent(command: Command, image: string | undefined, options: MkfsOptions, json: boolean): void {
  const { fromFile, printDigest, printDigestOnly, skipXattrs, userXattrs, minVersion = 0, maxVersion = 1 } = options;
  if (printDigestOnly !== true && image === undefined) command.error("missing required argument 'IMAGE'");
  if (printDigestOnly === true && image !== undefined) command.error('--print-digest-only writes no IMAGE');
  if (minVersion > maxVersion) command.error('--min-version is higher than --max-version');
  if (skipXattrs === true && userXattrs === true) command.error('--skip-xattrs and --user-xattrs exclude each other');
  if (image === '-' && (printDigest === true || json)) command.error('standard output cannot take the image and something else');
  const [vain] = fromFile === true ? OF_DIRECTORIES.filter((name) => options[name] !== undefined) : [];
  if (vain !== undefined)
    command.error(`--${vain.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} is for directories, not for dumps`);
}
