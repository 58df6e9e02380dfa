// How a store for podman is written: a reader finds each file as it was or as it will be.
import { randomBytes } from 'node:crypto';
import { chmodSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fsync } from '../../core/kernel/durable.js';
import { isErrno } from '../../core/kernel/error.js';
import type { Fd } from '../../core/kernel/fd.js';
import { O_DIRECTORY, O_RDONLY, O_RDWR, openPath, writeAllAt } from '../../core/kernel/file.js';
import { tryRecordLock } from '../../core/kernel/record-lock.js';
import { RequestError } from '../../core/wire/errors.js';
import { pause } from '../deadline.js';

/** How the names of files in the making end. */
export const DRAFT = '.tmp';

/** Makes a directory that everybody may read, whatever the umask, in place of what is none; one that is there keeps its mode. */
export function makeOpenDirectory(path: string): void {
  const there = statSync(path, { throwIfNoEntry: false });
  if (there?.isDirectory() === true) return;
  if (there !== undefined) remove(path);
  mkdirSync(path);
  chmodSync(path, 0o755);
}

/** Puts a file in place of what may have its name. Its bytes are on the disk before its name is. */
export function putFile(path: string, bytes: string | Uint8Array): void {
  const draft = `${path}.${randomBytes(6).toString('hex')}${DRAFT}`;
  try {
    writeFileSync(draft, bytes, { mode: 0o644, flush: true });
    chmodSync(draft, 0o644);
    putInPlace(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
  syncDirectoryOf(path);
}

/** A file takes the place of a file in one step; a directory there is damage, and goes before. */
function putInPlace(draft: string, path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true) remove(path);
  renameSync(draft, path);
}

/** As `putFile`, unless the file has these bytes. */
export function putChangedFile(path: string, bytes: Uint8Array): void {
  if (!hasBytes(path, bytes)) putFile(path, bytes);
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

function hasBytes(path: string, bytes: Uint8Array): boolean {
  return isFile(path) && readFileSync(path).equals(bytes);
}

/** Gives a file that was written under another name its own. */
export function renameDurably(file: Fd, draft: string, path: string): void {
  fsync(file);
  putInPlace(draft, path);
  syncDirectoryOf(path);
}

export function putSymlink(target: string, path: string): void {
  const draft = `${path}.${randomBytes(6).toString('hex')}${DRAFT}`;
  symlinkSync(target, draft);
  putInPlace(draft, path);
}

export function syncDirectoryOf(path: string): void {
  using directory = openPath(dirname(path), O_RDONLY | O_DIRECTORY);
  fsync(directory);
}

/** How long a reader may keep us waiting. The files are replaced in one step, so that the lock is a courtesy: no user who holds it can stop an administrator. */
const COURTESY_MS = 1000;
/** pkg/lockfile: who wrote last, any bytes of this number. */
const WRITER_ID = 64;

/** Replaces a file that podman reads under a lock, and tells those who have read it that it is another now. */
export function putLockedFile(path: string, lockPath: string, bytes: Uint8Array): void {
  if (!isFile(lockPath)) putFile(lockPath, randomBytes(WRITER_ID));
  if (hasBytes(path, bytes)) return;
  using lock = openPath(lockPath, O_RDWR);
  const end = performance.now() + COURTESY_MS;
  while (!tryRecordLock(lock) && performance.now() < end) pause(20);
  putFile(path, bytes);
  writeAllAt(lock, randomBytes(WRITER_ID), 0);
}

/** Removes a file or a tree; a directory that is a mount point elsewhere is unmounted there by the kernel. */
export function remove(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch (cause) {
    if (!isErrno(cause, 'EBUSY') && (cause as NodeJS.ErrnoException).code !== 'EBUSY') throw cause;
    throw new RequestError('Failed', `${path} is mounted on here`, { hint: `unmount it first: umount -R ${path}`, cause });
  }
}
