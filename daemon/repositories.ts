// Read-only use of the composefs repository format: objects/xx/…, images/<digest>, images/refs/<name>, meta.json.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

import { parseVerityDigest, type VerityDigest } from '../core/image/digest.js';
import { MAX_SIGNATURE_BYTES } from '../core/image/verity-signature.js';
import { isErrno } from '../core/kernel/error.js';
import type { Fd, OwnedFd } from '../core/kernel/fd.js';
import { O_DIRECTORY, O_NONBLOCK, O_PATH, O_RDONLY, openBeneath, openPath, readAt, readLinkAt } from '../core/kernel/file.js';
import { statFd } from '../core/kernel/stat.js';
import type { ImageRef } from '../core/wire/schemas.js';
import type { ObjectTrust } from '../policy/policy.js';

export interface Repository {
  readonly path: string;
  readonly objectTrust: ObjectTrust;
  readonly root: OwnedFd;
  readonly objects: OwnedFd;
}

/** An image file found in a repository, and the digest its name claims: not measured yet. */
export interface FoundImage {
  readonly repository: Repository;
  readonly file: OwnedFd;
  readonly claimed: VerityDigest;
}

const MAX_LISTED = 4096;
const MAX_REF_DEPTH = 8;

/** Opens a repository. Throws Error with a message for the administrator. */
export function openRepository(path: string, objectTrust: ObjectTrust): Repository {
  const root = openPath(path, O_RDONLY | O_DIRECTORY);
  try {
    requireKnownFormat(root, path);
    return { path, objectTrust, root, objects: openBeneath(root, 'objects', O_RDONLY | O_DIRECTORY) };
  } catch (error) {
    root.close();
    throw error;
  }
}

export function closeRepository(repository: Repository): void {
  repository.objects.close();
  repository.root.close();
}

function requireKnownFormat(root: Fd, path: string): void {
  let text: string;
  try {
    using file = openBeneath(root, 'meta.json', O_RDONLY | O_NONBLOCK);
    const bytes = Buffer.alloc(65536);
    text = bytes.toString('utf8', 0, readAt(file, bytes, 0));
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return; // not every tool writes one
    throw error;
  }
  const { algorithm } = JSON.parse(text) as { algorithm?: unknown };
  if (algorithm !== 'fsverity-sha256-12' && algorithm !== 'fsverity-sha512-12') {
    throw new Error(`${path}/meta.json: unknown algorithm; fsverity-sha256-12 and fsverity-sha512-12 are known`);
  }
}

function openRegular(root: Fd, path: string): OwnedFd | undefined {
  let file: OwnedFd;
  try {
    file = openBeneath(root, path, O_RDONLY | O_NONBLOCK);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO')) return undefined;
    throw error;
  }
  let regular = false;
  try {
    regular = statFd(file).type === 'file';
  } finally {
    if (!regular) file.close();
  }
  return regular ? file : undefined;
}

function readLink(root: Fd, path: string): string | undefined {
  const slash = path.lastIndexOf('/');
  try {
    using directory = openBeneath(root, path.slice(0, slash), O_PATH | O_DIRECTORY);
    return readLinkAt(directory, path.slice(slash + 1));
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'EINVAL', 'ELOOP')) return undefined;
    throw error;
  }
}

/** Digest that an entry's name in images/ claims, by its length. */
function digestOfHex(hex: string): VerityDigest | undefined {
  try {
    return parseVerityDigest(`${hex.length === 128 ? 'sha512' : 'sha256'}:${hex}`);
  } catch {
    return undefined;
  }
}

const hexOf = (digest: VerityDigest): string => digest.slice(digest.indexOf(':') + 1);

/** images/<digest>: the file itself, or a symlink of exactly the form `../objects/xx/rest`. */
function openImage(root: Fd, digest: VerityDigest): OwnedFd | undefined {
  const entry = `images/${hexOf(digest)}`;
  const target = readLink(root, entry);
  if (target === undefined) return openRegular(root, entry);
  const object = /^\.\.\/(objects\/[0-9a-f]{2}\/[0-9a-f]{62,126})$/.exec(target)?.[1];
  return object === undefined ? undefined : openRegular(root, object);
}

/** images/refs/<name>: a symlink back up to images/ and to one digest there, nothing else. */
function digestOfRef(root: Fd, name: string): VerityDigest | undefined {
  const target = readLink(root, `images/refs/${name}`);
  const up = '../'.repeat(name.split('/').length);
  return target?.startsWith(up) ? digestOfHex(target.slice(up.length)) : undefined;
}

/** Looks an image up in each repository in turn. */
export function findImage(repositories: readonly Repository[], image: ImageRef): FoundImage | undefined {
  for (const repository of repositories) {
    const claimed = image.kind === 'digest' ? image.digest : digestOfRef(repository.root, image.name);
    const file = claimed && openImage(repository.root, claimed);
    if (file) return { repository, file, claimed };
  }
  return undefined;
}

/** signatures/<digest>, detached: undefined if there is none. One that is too long comes as one byte more than is read of any. */
export function readSignature({ root }: Repository, digest: VerityDigest): Uint8Array | undefined {
  using file = openRegular(root, `signatures/${hexOf(digest)}`);
  if (!file) return undefined;
  const bytes = new Uint8Array(MAX_SIGNATURE_BYTES + 1);
  return bytes.subarray(0, readAt(file, bytes, 0));
}

export interface ListedImage {
  readonly repository: Repository;
  /** '' for an image without a name. */
  readonly name: string;
  readonly claimed: VerityDigest;
}

function refNames(directory: string, prefix = '', depth = 0): string[] {
  if (depth === MAX_REF_DEPTH) return [];
  const entries = readdirSync(directory, { withFileTypes: true });
  return entries.flatMap((entry) => {
    if (entry.isDirectory()) return refNames(join(directory, entry.name), `${prefix}${entry.name}/`, depth + 1);
    return entry.isSymbolicLink() ? [prefix + entry.name] : [];
  });
}

function namesOrNone(list: () => string[]): string[] {
  try {
    return list();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Images that a repository names, with the digests the names claim. */
export function listImages(repository: Repository): ListedImage[] {
  const images = `/proc/self/fd/${repository.root.raw}/images`;
  const named = namesOrNone(() => refNames(join(images, 'refs'))).flatMap((name) => {
    const claimed = digestOfRef(repository.root, name);
    return claimed ? [{ repository, name, claimed }] : [];
  });
  const known = new Set(named.map(({ claimed }) => claimed));
  const unnamed = namesOrNone(() => readdirSync(images)).flatMap((entry) => {
    const claimed = digestOfHex(entry);
    return claimed && !known.has(claimed) ? [{ repository, name: '', claimed }] : [];
  });
  return [...named, ...unnamed].slice(0, MAX_LISTED);
}

export function openListed(image: ListedImage): OwnedFd | undefined {
  return openImage(image.repository.root, image.claimed);
}
