// How a store for podman is written: a reader finds each file as it was or as it will be.
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fsync, tryLock } from '../../core/kernel/durable.js';
import { isErrno } from '../../core/kernel/error.js';
import type { Fd, OwnedFd } from '../../core/kernel/fd.js';
import { O_CREAT, O_DIRECTORY, O_RDONLY, O_RDWR, openPath, writeAllAt } from '../../core/kernel/file.js';
import { tryRecordLock } from '../../core/kernel/record-lock.js';
import { whyEntriesReplaceable, whyReplaceable } from '../../core/kernel/trusted-path.js';
import { RequestError } from '../../core/wire/errors.js';
import { pause } from '../deadline.js';

/** In the store: who holds its lock is the one that writes. Others cannot open it, so nobody else can hold it. */
const WRITER_LOCK = '.cfsctl-lock';

/** How the names of files in the making end. */
export const DRAFT = '.tmp';

/** Makes a directory that everybody may read, whatever the umask; one that is there keeps its mode. */
export function makeOpenDirectory(path: string): void {
  if (existsSync(path)) return;
  mkdirSync(path);
  chmodSync(path, 0o755);
}

/** Makes the store's directory if there is none, and takes the lock of those who write to it. Throws `RequestError`. */
export function openForWriting(store: string, timeoutMs: number): OwnedFd {
  requireOwn(store);
  const lock = openPath(join(store, WRITER_LOCK), O_RDWR | O_CREAT, 0o600);
  const end = performance.now() + timeoutMs;
  while (!tryLock(lock)) {
    if (performance.now() > end) {
      lock.close();
      throw new RequestError('Timeout', `another cfsctl was at work in ${store} for ${timeoutMs / 1000} s`, {
        hint: 'try again',
      });
    }
    pause(50);
  }
  return lock;
}

/** What root writes goes where links lead: not where another user can change things meanwhile. */
function requireOwn(store: string): void {
  const isRoot = process.geteuid?.() === 0;
  // Before anything is made: another user could put a link in its place, and have the mode of what that leads to changed.
  if (isRoot) requireRootsAlone(whyEntriesReplaceable(directoryAbove(resolve(store))));
  if (!existsSync(store)) mkdirSync(dirname(resolve(store)), { recursive: true });
  makeOpenDirectory(store);
  // What is not listed gets removed: podman's own storage must never be taken for a store of ours.
  const names = readdirSync(store);
  if (names.length > 0 && !names.includes(WRITER_LOCK))
    throw new RequestError('BadRequest', `${store} is neither empty nor a store that cfsctl made`, {
      hint: 'name a new directory',
    });
  if (isRoot) requireRootsAlone(whyReplaceable(resolve(store)));
}

/** The lowest of those above a path that is there. */
function directoryAbove(path: string): string {
  const above = dirname(path);
  return lstatSync(above, { throwIfNoEntry: false }) === undefined ? directoryAbove(above) : above;
}

function requireRootsAlone(why: string | undefined): void {
  if (why === undefined) return;
  throw new RequestError('BadRequest', `${why}; root writes only where nobody else can`, { hint: 'name another directory' });
}

/** Puts a file in place of what may have its name. Its bytes are on the disk before its name is. */
export function putFile(path: string, bytes: string | Uint8Array): void {
  const draft = `${path}.${randomBytes(6).toString('hex')}${DRAFT}`;
  try {
    writeFileSync(draft, bytes, { mode: 0o644, flush: true });
    chmodSync(draft, 0o644);
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
  syncDirectoryOf(path);
}

/** As `putFile`, unless the file has these bytes. */
export function putChangedFile(path: string, bytes: Uint8Array): void {
  if (!existsSync(path) || !readFileSync(path).equals(bytes)) putFile(path, bytes);
}

/** Gives a file that was written under another name its own. */
export function renameDurably(file: Fd, draft: string, path: string): void {
  fsync(file);
  renameSync(draft, path);
  syncDirectoryOf(path);
}

export function putSymlink(target: string, path: string): void {
  const draft = `${path}.${randomBytes(6).toString('hex')}${DRAFT}`;
  symlinkSync(target, draft);
  renameSync(draft, path);
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
  if (!existsSync(lockPath)) putFile(lockPath, randomBytes(WRITER_ID));
  if (existsSync(path) && readFileSync(path).equals(bytes)) return;
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
