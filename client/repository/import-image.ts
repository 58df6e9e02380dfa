// cfsctl import: a directory, a dump file or an image becomes an image of a repository, with a name.
import { statSync } from 'node:fs';
import { type VerityDigest, verityDigestFromBytes } from '../../core/image/digest.js';
import { parseDump } from '../../core/image/dump-parser.js';
import { factsOf } from '../../core/image/facts.js';
import { FormatError } from '../../core/image/format-error.js';
import type { Node } from '../../core/image/tree.js';
import { chooseVersion } from '../../core/image/version.js';
import { writeImage } from '../../core/image/writer.js';
import { O_DIRECTORY, O_RDONLY, openBeneath } from '../../core/kernel/file.js';
import { RequestError } from '../../core/wire/errors.js';
import { isImageFile, openAnyImage, readComposefs } from '../inspect/read-image.js';
import { removeOciRef } from '../oci/names.js';
import { buildTreeShown } from '../store/build-tree-shown.js';
import { createFileHasher } from '../store/file-hasher.js';
import { type ObjectStore, type WrittenObjects, objectStoreIn } from '../store/object-store.js';
import { atPath, orCannotOpen } from '../store/path-error.js';
import { readToEnd } from '../store/read-to-end.js';
import { copyObjects } from './copy-objects.js';
import { linkImage, setRef } from './links.js';
import { type Repository, atRepository } from './repository.js';

export interface ImportSource {
  /** A directory, a dump file or `-` for one on standard input, or an image. */
  readonly path: string;
  /** Where the objects of a dump file or an image are, as far as the repository does not have them. */
  readonly objects: string | undefined;
}

export interface Imported {
  readonly digest: VerityDigest;
  /** Objects that were not there before, the image among them. */
  readonly written: WrittenObjects;
}

/** Before a repository is made for them. Throws `RequestError` BadRequest. */
export function requireSource({ path, objects }: ImportSource): void {
  for (const named of [path, ...(objects === undefined ? [] : [objects])])
    if (named !== '-') orCannotOpen(named, () => statSync(named));
}

/** Adds an image and its objects, and then its name. Whatever ends the program before, the repository is as good as it was. Throws `RequestError`. */
export async function importImage({ root, path, algorithm }: Repository, source: ImportSource, name: string): Promise<Imported> {
  const directory = atRepository(path, () => openBeneath(root, 'objects', O_RDONLY | O_DIRECTORY));
  using store = objectStoreIn(directory, `${path}/objects`, createFileHasher(algorithm));
  const { digest, elsewhere } = await addSource(store, source);
  store.sync();
  atRepository(path, () => {
    linkImage(root, digest);
    setRef(root, name, digest);
    // The name stands for something else now than a container image.
    removeOciRef(root, name);
  });
  const { objects, bytes } = store.written;
  return { digest, written: { objects: objects + elsewhere.objects, bytes: bytes + elsewhere.bytes } };
}

interface AddedSource {
  readonly digest: VerityDigest;
  /** Written by other threads. */
  readonly elsewhere: WrittenObjects;
}

const NOTHING: WrittenObjects = { objects: 0, bytes: 0 };

async function addSource(store: ObjectStore, { path, objects }: ImportSource): Promise<AddedSource> {
  if (isDirectory(path)) return await addDirectory(store, path);
  if (path !== '-' && isImageFile(path)) return { digest: addImage(store, path, objects), elsewhere: NOTHING };
  const root = readDump(path);
  // Before anything is stored: a tree that no image can hold is refused here.
  const bytes = imageOf(path, root);
  copyObjects(factsOf(root).objects, store, objects);
  return { digest: store.addBytes(bytes), elsewhere: NOTHING };
}

function isDirectory(path: string): boolean {
  return path !== '-' && orCannotOpen(path, () => statSync(path).isDirectory());
}

async function addDirectory(store: ObjectStore, path: string): Promise<AddedSource> {
  const { root, written } = await buildTreeShown(path, { store });
  const elsewhere = { objects: written.objects - store.written.objects, bytes: written.bytes - store.written.bytes };
  return { digest: store.addBytes(imageOf(path, root)), elsewhere };
}

/** Byte by byte as it is: its digest is what people trust. */
function addImage(store: ObjectStore, path: string, objects: string | undefined): VerityDigest {
  using image = openAnyImage(path);
  if (image.header.type === 'composefs') {
    const { root, bytes } = readComposefs(image);
    copyObjects(factsOf(root).objects, store, objects);
    return store.addBytes(bytes);
  }
  const digest = atPath(Buffer.from(path).toString('latin1'), () => store.addFile(image));
  if (digest !== undefined) return verityDigestFromBytes(store.algorithm, digest);
  throw new RequestError('Failed', `${path} became shorter while it was read`);
}

function readDump(path: string): Node {
  const bytes = readToEnd(path);
  return ofSource(path, () => parseDump(bytes));
}

function imageOf(path: string, root: Node): Uint8Array {
  return ofSource(path, () => writeImage(root, chooseVersion(root)));
}

function ofSource<T>(path: string, make: () => T): T {
  try {
    return make();
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause;
    throw new RequestError('BadRequest', `${path === '-' ? 'standard input' : path}: ${cause.message}`, { cause });
  }
}
