import { randomBytes } from 'node:crypto';
import { realpathSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { changeMode, fsync, renameAt } from '../../core/kernel/durable.js';
import { SyscallError, isErrno } from '../../core/kernel/error.js';
import type { Fd } from '../../core/kernel/fd.js';
import {
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_RDONLY,
  O_RDWR,
  linkUnnamed,
  openBeneath,
  openPath,
  unlinkAt,
  writeAllAt,
} from '../../core/kernel/file.js';
import { type FileStatus, statAt } from '../../core/kernel/stat.js';
import { RequestError } from '../../core/wire/errors.js';
import { printBytes } from '../output.js';
import { openWithoutName } from './drafts.js';

/** Writes an image, or whatever `what` calls it; `-` is standard output. Its name stands for the old file, if there is one, until the new one is whole and on the disk. Throws `RequestError`. */
export function writeImageFile(path: string, bytes: Uint8Array, what = 'image'): void {
  if (path === '-') return printBytes(bytes);
  try {
    writeImage(path, bytes);
  } catch (cause) {
    const code = cause instanceof SyscallError ? cause.code : (cause as NodeJS.ErrnoException).code;
    if (typeof code !== 'string') throw cause;
    throw new RequestError('Failed', `the ${what} ${path} cannot be written (${code})`, { cause });
  }
}

function writeImage(path: string, bytes: Uint8Array): void {
  const target = realpathIfThere(path);
  const old = statIfThere(target);
  // A pipe or a device takes the bytes themselves.
  if (old !== undefined && old.type !== 'file') return writeFileSync(target, bytes);
  using directory = openPath(dirname(target), O_RDONLY | O_DIRECTORY);
  using draft = makeDraft(directory);
  writeAllAt(draft.file, bytes, 0);
  changeMode(draft.file, old === undefined ? 0o666 & ~process.umask() : old.permissions & 0o777);
  fsync(draft.file);
  draft.publish(basename(target));
  fsync(directory);
}

interface ImageDraft extends Disposable {
  readonly file: Fd;
  publish(name: string): void;
}

/** A file that is gone if it is not published. Only being killed between its first name and its last, or where there is no O_TMPFILE, leaves something behind. */
function makeDraft(directory: Fd): ImageDraft {
  const interim = `.cfsctl-${randomBytes(8).toString('hex')}.tmp`;
  const unnamed = openWithoutName(directory);
  const file = unnamed ?? openBeneath(directory, interim, O_RDWR | O_CREAT | O_EXCL, 0o600);
  let hasInterim = unnamed === undefined;
  return {
    file,
    publish(name) {
      if (!hasInterim) linkUnnamed(file, directory, interim);
      hasInterim = true;
      renameAt(directory, interim, directory, name);
      hasInterim = false;
    },
    [Symbol.dispose]() {
      file.close();
      if (hasInterim) unlinkAt(directory, interim);
    },
  };
}

function realpathIfThere(path: string): string {
  return orMissing(() => realpathSync(path)) ?? path;
}

function statIfThere(path: string): FileStatus | undefined {
  return orMissing(() => statAt(null, path));
}

function orMissing<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (isErrno(error, 'ENOENT') || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
