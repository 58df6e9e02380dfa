// The objects of an image that was made elsewhere: each is checked on its way into the repository.
import type { NeededObject } from '../../core/image/facts.js';
import { type VerityDigest, digestAlgorithm, objectPath, verityDigestFromBytes } from '../../core/image/digest.js';
import type { Fd, OwnedFd } from '../../core/kernel/fd.js';
import { statFd } from '../../core/kernel/stat.js';
import { RequestError } from '../../core/wire/errors.js';
import { atPath } from '../store/path-error.js';
import { openObject, openStore, type PlacedObject } from '../inspect/objects.js';
import { showBytes } from '../inspect/shown-bytes.js';
import { showProgress } from '../progress.js';
import type { ObjectStore } from '../store/object-store.js';

interface PinnedObject extends PlacedObject {
  readonly digest: VerityDigest;
}

/** Objects that have a place in a repository: pinned by a digest, and looked for at its path. Throws `RequestError` BadImage. */
function requirePinned(objects: readonly NeededObject[], { algorithm }: ObjectStore): PinnedObject[] {
  return objects.map(({ digest, path, size }) => {
    const shown = path === undefined ? 'a file without a path' : showBytes(path);
    if (digest === undefined || path !== (objectPath(digest) as string))
      throw new RequestError('BadImage', `an object of the image is not at the path of its digest: ${shown}`, {
        hint: 'make the image anew with cfsctl mkfs, or import the directory it was made of',
      });
    if (digestAlgorithm(digest) !== algorithm)
      throw new RequestError('BadImage', `the image has ${digestAlgorithm(digest)} objects, the repository ${algorithm} ones`, {
        hint: 'use a repository of that algorithm, or import the directory the image was made of',
      });
    return { digest, path, size };
  });
}

/** Brings the objects that the repository lacks from another store. Throws `RequestError` BadImage if one is missing there or is not what its name says. */
export function copyObjects(objects: readonly NeededObject[], target: ObjectStore, sourcePath: string | undefined): void {
  const pinned = requirePinned(objects, target).sort((a, b) => (a.path < b.path ? -1 : 1));
  const lacking = pinned.filter((object) => !isThere(target.directory, object));
  if (lacking.length === 0) return;
  if (sourcePath === undefined) throw missing(lacking, 'the repository', '--objects names the directory they are in');
  using source = openStore(sourcePath);
  const absent = lacking.filter((object) => !isThere(source, object));
  if (absent.length > 0) throw missing(absent, sourcePath, 'cfsctl objects --missing lists them');
  using progress = showProgress(
    'importing',
    lacking.reduce((sum, { size }) => sum + Number(size), 0),
  );
  for (const object of lacking) {
    atPath(`${Buffer.from(sourcePath).toString('latin1')}/${object.path}`, () => copyObject(object, target, source));
    progress.advance(Number(object.size));
  }
}

function missing(objects: readonly PinnedObject[], where: string, hint: string): RequestError {
  const [{ path } = { path: '' }] = objects;
  const rest = objects.length === 1 ? '' : ` and ${objects.length - 1} others`;
  return new RequestError('BadImage', `objects of the image are missing in ${where}, or have another size: ${path}${rest}`, {
    hint,
  });
}

/** By name and size: what has its name in an object store was checked when it got it. */
function isThere(store: Fd, { path, size }: PlacedObject): boolean {
  using file = openObject(store, path) || undefined;
  return file !== undefined && BigInt(statFd(file).size) === size;
}

function copyObject({ digest, path, size }: PinnedObject, target: ObjectStore, source: Fd): void {
  using file: OwnedFd | undefined = openObject(source, path) || undefined;
  // What is stored is what is hashed: if it is something else, it is under its own digest, and gc takes it away.
  const stored = file && target.addFile({ file, size: Number(size) });
  if (stored !== undefined && verityDigestFromBytes(target.algorithm, stored) === digest) return;
  throw new RequestError('BadImage', `the object ${path} is not what its name says`, {
    hint: 'cfsctl verify lists all such objects',
  });
}
