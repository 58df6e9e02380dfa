// The repository knows the store that was made of it, so that the store follows when images come and go.
import { randomBytes } from 'node:crypto';
import { existsSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { fsync, renameAt } from '../../core/kernel/durable.js';
import { isErrno } from '../../core/kernel/error.js';
import type { Fd } from '../../core/kernel/fd.js';
import { makeSymlinkAt, readLinkAt, unlinkAt } from '../../core/kernel/file.js';
import type { Repository } from '../repository/repository.js';

/** In the root of the repository: a symbolic link to the store, by its absolute path. */
const LINK = 'podman-store';

/** Absolute path of the store that was last exported; undefined if there is none. */
export function rememberedStore(root: Fd): string | undefined {
  try {
    const path = readLinkAt(root, LINK);
    return path.startsWith('/') ? path : undefined;
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EINVAL')) return undefined;
    throw error;
  }
}

/**
 * The repository knows one store. Returns another one that it knew until now, if that is still there. Whoever may not write to the repository can export it all the
 * same, and does so again by hand.
 */
export function rememberStore({ root }: Repository, store: string): string | undefined {
  const target = realpathSync(store);
  const before = rememberedStore(root);
  if (before === target || !putLink(root, target)) return undefined;
  return before !== undefined && existsSync(join(before, 'overlay-images')) && realpathSync(before) !== target
    ? before
    : undefined;
}

/** False if the caller may not. */
function putLink(root: Fd, target: string): boolean {
  const draft = `.${LINK}-${randomBytes(8).toString('hex')}`;
  try {
    makeSymlinkAt(target, root, draft);
  } catch (error) {
    if (isErrno(error, 'EACCES', 'EPERM', 'EROFS')) return false;
    throw error;
  }
  try {
    renameAt(root, draft, root, LINK);
  } catch (error) {
    unlinkAt(root, draft);
    throw error;
  }
  fsync(root);
  return true;
}
