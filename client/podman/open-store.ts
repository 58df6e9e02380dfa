// Which directory is taken for a store that may be written, and by whom: once at a time.
import { existsSync, lstatSync, mkdirSync, readdirSync, realpathSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { tryLock } from '../../core/kernel/durable.js';
import type { OwnedFd } from '../../core/kernel/fd.js';
import { O_CREAT, O_RDWR, openPath } from '../../core/kernel/file.js';
import { whyEntriesReplaceable, whyReplaceable } from '../../core/kernel/trusted-path.js';
import { RequestError } from '../../core/wire/errors.js';
import { pause } from '../deadline.js';
import { makeOpenDirectory } from './store-files.js';
import { WRITER_LOCK, isOwnStore } from './store-layout.js';

/** Makes the store's directory if there is none, and takes the lock of those who write to it. `repository` is where it is. Throws `RequestError`. */
export function openForWriting(store: string, repository: string, timeoutMs: number): OwnedFd {
  requireOwn(store, repository);
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
function requireOwn(store: string, repository: string): void {
  if (store === '') throw new RequestError('BadRequest', 'the store has no name', { hint: 'name a directory' });
  const isRoot = process.geteuid?.() === 0;
  // Before anything is made: another user could put a link in its place, and have the mode of what that leads to changed.
  if (isRoot) requireRootsAlone(whyEntriesReplaceable(directoryAbove(resolve(store))));
  requireApart(realPathOf(store), realpathSync(repository));
  if (!existsSync(store)) {
    mkdirSync(dirname(resolve(store)), { recursive: true });
    makeOpenDirectory(store);
  }
  // What is not listed gets removed: podman's own storage must never be taken for a store of ours.
  const names = readdirSync(store);
  if (names.length > 0 && !names.includes(WRITER_LOCK))
    throw new RequestError('BadRequest', `${store} is neither empty nor a store that cfsctl made`, {
      hint: 'name a new directory',
    });
  if (isRoot) requireRootsAlone(whyReplaceable(resolve(store)));
}

/** Whoever removes a store, or what is not listed in one, must not remove anything else with it. Real paths. */
function requireApart(store: string, repository: string): void {
  const around = listAbove(store).find(isOwnStore);
  const why =
    around !== undefined
      ? `is in another store, ${around}`
      : store === repository || listAbove(store).includes(repository)
        ? `is in the repository ${repository}`
        : listAbove(repository).includes(store)
          ? `has the repository ${repository} in it`
          : undefined;
  if (why !== undefined) throw new RequestError('BadRequest', `${store} ${why}`, { hint: 'name a directory beside it' });
}

/** The directories above a path, the lowest first. */
function listAbove(path: string): string[] {
  const above = dirname(path);
  return above === path ? [] : [above, ...listAbove(above)];
}

/** Of what may not be there yet: links in what is there are followed. */
function realPathOf(path: string): string {
  if (existsSync(path)) return realpathSync(path);
  const above = directoryAbove(resolve(path));
  return join(realpathSync(above), relative(above, resolve(path)));
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
