// What is in a repository: images by digest, and the names that lead to them. Names are bytes, one in a character.
import type { ByteString } from '../../core/image/bytes.js';
import { type VerityDigest, digestHex, objectPath, parseVerityDigest } from '../../core/image/digest.js';
import { DIR } from '../../core/image/tree.js';
import { isErrno } from '../../core/kernel/error.js';
import type { Fd, OwnedFd } from '../../core/kernel/fd.js';
import { O_DIRECTORY, O_PATH, openBeneath, readLinkBytesAt } from '../../core/kernel/file.js';
import { statEntry } from '../../core/kernel/stat.js';
import { openObject } from '../inspect/objects.js';
import { readNamesOf } from './repository.js';

export const REFS = 'images/refs';

/** A name: a symbolic link below images/refs, or another directory of names. */
export interface Ref {
  /** Below that directory. */
  readonly path: string;
  /** Undefined if it is no symbolic link. */
  readonly target: string | undefined;
}

/** The digest that hex digits name, by their number; undefined if they name none. */
export function digestOfHex(hex: string): VerityDigest | undefined {
  try {
    return parseVerityDigest(`${hex.length === 128 ? 'sha512' : 'sha256'}:${hex}`);
  } catch {
    return undefined;
  }
}

/** What is in images/ but the refs: names that are digests, and what does not belong there. */
export function listImageNames(root: Fd): string[] {
  return readNamesOf(root, 'images').filter((name) => name !== 'refs');
}

/** Everything below images/refs, or where other names are: what is no directory, and the directories, those deepest down last. */
export function walkRefs(root: Fd, top = REFS): { readonly refs: readonly Ref[]; readonly directories: readonly string[] } {
  const refs: Ref[] = [];
  const directories: string[] = [];
  const pending = [''];
  for (const prefix of pending) {
    if (prefix !== '') directories.push(prefix.slice(0, -1));
    for (const name of readNamesOf(root, `${top}/${prefix}`)) {
      const path = prefix + name;
      if (isDirectory(root, `${top}/${path}`)) pending.push(`${path}/`);
      else refs.push({ path, target: readLink(root, `${top}/${path}`) });
    }
  }
  return { refs, directories };
}

function isDirectory(root: Fd, path: string): boolean {
  return inParent(root, path, (parent, name) => statEntry(parent, name).mode >> 12 === DIR) === true;
}

/** Target of a symbolic link; undefined if there is none of this name. */
export function readLink(root: Fd, path: string): string | undefined {
  return inParent(root, path, readLinkBytesAt);
}

/** Undefined if there is no such entry, or another kind of entry. Links are not followed on the way. */
function inParent<T>(root: Fd, path: string, look: (parent: Fd, name: string) => T): T | undefined {
  const slash = path.lastIndexOf('/');
  try {
    using parent = openBeneath(root, Buffer.from(path.slice(0, slash), 'latin1'), O_PATH | O_DIRECTORY);
    return look(parent, path.slice(slash + 1));
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EINVAL')) return undefined;
    throw error;
  }
}

/** The digest that a ref leads to in the way the service follows: up to images/ and to one digest there. */
export function digestOfRef({ path, target }: Ref): VerityDigest | undefined {
  const up = '../'.repeat(path.split('/').length);
  return target?.startsWith(up) === true ? digestOfHex(target.slice(up.length)) : undefined;
}

export function imageEntry(digest: VerityDigest): string {
  return `images/${digestHex(digest)}`;
}

/** What an entry of images/ links to. */
export function imageTarget(digest: VerityDigest): string {
  return `../objects/${objectPath(digest)}`;
}

/** The file of an image, be it in the object store or itself in images/. Undefined if it is not there; its digest is not measured. */
export function openStoredImage(root: Fd, digest: VerityDigest): OwnedFd | undefined {
  return (
    openObject(root, `objects/${objectPath(digest)}` as ByteString) ||
    openObject(root, imageEntry(digest) as ByteString) ||
    undefined
  );
}

/** True if images/ has the image, in one of the two forms that the service takes. */
export function hasImageEntry(root: Fd, digest: VerityDigest): boolean {
  const target = readLink(root, imageEntry(digest));
  if (target !== undefined) return target === imageTarget(digest);
  using file = openObject(root, imageEntry(digest) as ByteString) || undefined;
  return file !== undefined;
}
