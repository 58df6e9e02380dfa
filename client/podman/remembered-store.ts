// The repository knows the store that was made of it, so that the store follows when images come and go.
import { randomBytes } from 'node:crypto';
import { resolve } from 'node:path';
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

/** Whoever may not write to the repository can export it all the same, and does so again by hand. */
export function rememberStore({ root }: Repository, store: string): void {
  const target = resolve(store);
  if (rememberedStore(root) === target) return;
  const draft = `.${LINK}-${randomBytes(8).toString('hex')}`;
  try {
    makeSymlinkAt(target, root, draft);
  } catch (error) {
    if (isErrno(error, 'EACCES', 'EPERM', 'EROFS')) return;
    throw error;
  }
  try {
    renameAt(root, draft, root, LINK);
  } catch (error) {
    unlinkAt(root, draft);
    throw error;
  }
  fsync(root);
}
