// Small files that appear whole, or not at all.
import { randomBytes } from 'node:crypto';
import { basename, dirname } from 'node:path';
import { changeMode, fsync, renameAt } from '../core/kernel/durable.js';
import {
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_RDONLY,
  O_RDWR,
  openBeneath,
  openPath,
  unlinkAt,
  writeAllAt,
} from '../core/kernel/file.js';

/** Writes a file in place of what has its name, in a directory that is there, and waits for the disk. Throws SyscallError. */
export function writeWholeFile(path: string, text: string, mode: number): void {
  using directory = openPath(dirname(path), O_RDONLY | O_DIRECTORY);
  const interim = `.cfsctl-${randomBytes(8).toString('hex')}.tmp`;
  using file = openBeneath(directory, interim, O_RDWR | O_CREAT | O_EXCL, 0o600);
  try {
    writeAllAt(file, Buffer.from(text), 0);
    changeMode(file, mode);
    fsync(file);
    renameAt(directory, interim, directory, basename(path));
  } catch (error) {
    unlinkAt(directory, interim);
    throw error;
  }
  fsync(directory);
}

/** Removes a file and waits for the disk. Throws SyscallError. */
export function removeFile(path: string): void {
  using directory = openPath(dirname(path), O_RDONLY | O_DIRECTORY);
  unlinkAt(directory, basename(path));
  fsync(directory);
}
