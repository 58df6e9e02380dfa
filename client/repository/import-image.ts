// cfsctl import: a directory, a dump file or an image becomes an image of a repository, with a name.
import { readFileSync, statSync } from 'node:fs';
import { parseDump } from '../../core/image/dump-parser.js';
import { FormatError } from '../../core/image/format-error.js';
import { factsOf } from '../../core/image/facts.js';
import { type VerityDigest, verityDigestFromBytes } from '../../core/image/digest.js';
import type { Node } from '../../core/image/tree.js';
import { chooseVersion } from '../../core/image/version.js';
import { writeImage } from '../../core/image/writer.js';
import { O_DIRECTORY, O_RDONLY, openBeneath } from '../../core/kernel/file.js';
import { RequestError } from '../../core/wire/errors.js';
import { isImageFile, openAnyImage, readComposefs } from '../inspect/read-image.js';
import { buildTree } from '../store/build-tree.js';
import { createFileHasher } from '../store/file-hasher.js';
import { type ObjectStore, type WrittenObjects, objectStoreIn } from '../store/object-store.js';
import { copyObjects } from './copy-objects.js';
import { linkImage, setRef } from './links.js';
import { type Repository, atRepository } from './repository.js';

export interface ImportSource {
  /** A directory, a dump file, or an image. */
  readonly path: string;
  /** Where the objects of a dump file or an image are, as far as the repository does not have them. */
  readonly objects: string | undefined;
}

export interface Imported {
  readonly digest: VerityDigest;
  /** What was not there before, the image among it. */
  readonly written: WrittenObjects;
}

/** Adds an image and its objects, and then its name. Whatever ends the program before, the repository is as good as it was. Throws `RequestError`. */
export function importImage(repository: Repository, source: ImportSource, name: string): Imported {
  return atRepository(repository.path, () => {
    const { root, algorithm } = repository;
    using store = objectStoreIn(openBeneath(root, 'objects', O_RDONLY | O_DIRECTORY), createFileHasher(algorithm));
    const digest = addSource(store, source);
    store.sync();
    linkImage(root, digest);
    setRef(root, name, digest);
    return { digest, written: { ...store.written } };
  });
}

function addSource(store: ObjectStore, { path, objects }: ImportSource): VerityDigest {
  if (isDirectory(path)) return store.addBytes(imageOf(path, buildTree(path, { store })));
  if (isImageFile(path)) return addImage(store, path, objects);
  const root = readDump(path);
  // Before anything is stored: a tree that no image can hold is refused here.
  const bytes = imageOf(path, root);
  copyObjects(factsOf(root).objects, store, objects);
  return store.addBytes(bytes);
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new RequestError('BadRequest', `${path} cannot be opened (${code})`, { cause });
  }
}

/** Byte by byte as it is: its digest is what people trust. */
function addImage(store: ObjectStore, path: string, objects: string | undefined): VerityDigest {
  using image = openAnyImage(path);
  if (image.header.type === 'composefs') {
    const { root, bytes } = readComposefs(image);
    copyObjects(factsOf(root).objects, store, objects);
    return store.addBytes(bytes);
  }
  const digest = store.addFile(image);
  if (digest !== undefined) return verityDigestFromBytes(store.algorithm, digest);
  throw new RequestError('Failed', `${path} became shorter while it was read`);
}

/** Larger ones do not fit into one Buffer everywhere; they would be of a tree of several million files. */
const MAX_DUMP = 2 ** 31 - 1;

function readDump(path: string): Node {
  return ofSource(path, () => {
    if (statSync(path).size > MAX_DUMP) throw new FormatError('dump-size', `a dump file has at most ${MAX_DUMP} bytes`);
    return parseDump(readFileSync(path));
  });
}

function imageOf(path: string, root: Node): Uint8Array {
  return ofSource(path, () => writeImage(root, chooseVersion(root)));
}

function ofSource<T>(path: string, make: () => T): T {
  try {
    return make();
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause;
    throw new RequestError('BadRequest', `${path}: ${cause.message}`, { cause });
  }
}
