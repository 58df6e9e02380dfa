// A tree of whole files, for what reads them.
import { copyFileSync, lstatSync, mkdirSync, readdirSync, readlinkSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

const MODEL = '/usr';
/** A few huge files would be all that is measured. */
const MAX_FILE = 4 << 20;

export interface Made {
  files: number;
  bytes: number;
}

function copyEntry(source: string, target: string, made: Made): void {
  const status = lstatSync(source);
  if (status.isSymbolicLink()) symlinkSync(readlinkSync(source), target);
  if (!status.isFile() || status.size > MAX_FILE) return;
  copyFileSync(source, target);
  made.files += 1;
  made.bytes += status.size;
}

/** Copies depth first, so that directories are whole, until there are so many files. */
function copyDirectory(source: string, target: string, made: Made, enough: number): void {
  mkdirSync(target, { recursive: true });
  for (const entry of readdirSync(source, { withFileTypes: true })) {
    if (made.files >= enough) return;
    const [from, to] = [join(source, entry.name), join(target, entry.name)];
    if (entry.isDirectory()) copyDirectory(from, to, made, enough);
    else copyEntry(from, to, made);
  }
}

/** Copies files of up to 4 MiB from what this machine has in /usr, several times over where that is little. */
export function makeUsr(target: string, files: number): Made {
  const made = { files: 0, bytes: 0 };
  for (let copy = 1; made.files < files; copy++) copyDirectory(MODEL, join(target, `usr-${copy}`), made, files);
  return made;
}
