// How images and their names come into a repository and leave it. Each step is one that a crash leaves done or not done.
import { randomBytes } from 'node:crypto';
import type { VerityDigest } from '../../core/image/digest.js';
import { digestHex } from '../../core/image/digest.js';
import { fsync, renameAt } from '../../core/kernel/durable.js';
import { isErrno } from '../../core/kernel/error.js';
import type { Fd } from '../../core/kernel/fd.js';
import { O_DIRECTORY, O_RDONLY, makeSymlinkAt, openBeneath, unlinkAt } from '../../core/kernel/file.js';
import { RequestError } from '../../core/wire/errors.js';
import { REFS, imageEntry, imageTarget, readLink } from './entries.js';
import { makeDirectory, readNamesOf, syncDirectory } from './repository.js';

/** Of links that are not in their place yet, in the root of the repository. */
const PREFIX = '.link-';

/** Makes an object known as an image. The object must be durable. */
export function linkImage(root: Fd, digest: VerityDigest): void {
  placeLink(root, imageEntry(digest), imageTarget(digest));
}

/** Gives an image a name, in place of the image that had it. The image must be in images/. Throws `RequestError` BadRequest if other names stand in the way. */
export function setRef(root: Fd, name: string, digest: VerityDigest): void {
  placeNameLink(root, REFS, name, digestHex(digest));
}

/** Makes a name below `refs` lead to what is called `target` beside `refs`. Throws `RequestError` BadRequest if other names stand in the way. */
export function placeNameLink(root: Fd, refs: string, name: string, target: string): void {
  const parts = name.split('/');
  try {
    for (let depth = 1; depth < parts.length; depth += 1) makeDirectory(root, `${refs}/${parts.slice(0, depth).join('/')}`);
    placeLink(root, `${refs}/${name}`, '../'.repeat(parts.length) + target);
  } catch (cause) {
    if (!isErrno(cause, 'ENOTDIR', 'ELOOP', 'EISDIR', 'ENOTEMPTY')) throw cause;
    throw new RequestError(
      'BadRequest',
      `the name ${name} goes against another: a/b cannot be there beside a, as a would be a name and a directory of names`,
      {
        hint: 'choose another, or remove that one with cfsctl rm',
        cause,
      },
    );
  }
}

/** Takes a name away; false if there is none. */
export function removeRef(root: Fd, name: string): boolean {
  const path = `${REFS}/${name}`;
  if (readLink(root, path) === undefined) return false;
  removeEntry(root, path);
  return true;
}

/** Removes a file or link and waits until that is on the disk. */
export function removeEntry(root: Fd, path: string): void {
  const slash = path.lastIndexOf('/');
  using parent = openBeneath(root, path.slice(0, slash), O_RDONLY | O_DIRECTORY);
  unlinkAt(parent, path.slice(slash + 1));
  fsync(parent);
}

function placeLink(root: Fd, path: string, target: string): void {
  const slash = path.lastIndexOf('/');
  using parent = openBeneath(root, path.slice(0, slash), O_RDONLY | O_DIRECTORY);
  // Whoever placed it may not have waited for the disk.
  if (readLink(root, path) === target) return fsync(parent);
  const temporary = PREFIX + randomBytes(8).toString('hex');
  makeSymlinkAt(target, root, temporary);
  try {
    renameAt(root, temporary, parent, path.slice(slash + 1));
  } catch (error) {
    unlinkAt(root, temporary);
    throw error;
  }
  fsync(parent);
}

/** Removes the links that runs left which were killed. Nobody else may be at work in the repository. */
export function removeAbandonedLinks(root: Fd): void {
  const abandoned = readNamesOf(root, '.').filter((name) => name.startsWith(PREFIX));
  for (const name of abandoned) unlinkAt(root, name);
  if (abandoned.length > 0) syncDirectory(root, '.');
}
