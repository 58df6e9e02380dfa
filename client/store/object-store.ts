// A directory of files named by their fs-verity digest, as composefs uses it: `xx/rest`, the hex digits split after the first byte.
import { mkdirSync } from 'node:fs';
import { type VerityAlgorithm, type VerityDigest, verityDigestFromBytes } from '../../core/image/digest.js';
import type { Fd, OwnedFd } from '../../core/kernel/fd.js';
import { O_DIRECTORY, O_RDONLY, openPath, truncate, writeAllAt } from '../../core/kernel/file.js';
import { type Draft, openDrafts, orDiscard } from './drafts.js';
import { type Copy, type FileHasher, RANGE, type SizedFile, createFileHasher, hashFile } from './file-hasher.js';
import { createNaming } from './naming.js';
import { createSharing } from './sharing.js';
import { orCannotOpen } from './path-error.js';
import { inStore } from './store-error.js';

/**
 * Objects get their names only when all their bytes are on the disk: whatever ends the program, or the power, each name in the store is the digest of what it
 * names. Call `sync` before anything refers to objects. Two stores may work in one directory at once.
 */
export interface ObjectStore extends Disposable {
  readonly algorithm: VerityAlgorithm;
  readonly hasher: FileHasher;
  readonly directory: Fd;
  /** What it is called in errors. */
  readonly path: string;
  /** Makes an object of bytes in memory, unless there is one. */
  addBytes(bytes: Uint8Array): VerityDigest;
  /** Makes an object of a file, unless there is one, and returns its raw digest. What is hashed is what is stored. Undefined if the file is shorter than said. */
  addFile(source: SizedFile): Uint8Array | undefined;
  /** A draft for a file, and whether it holds the file's bytes already, sharing its blocks. */
  startObject(source: SizedFile): { readonly draft: Draft; readonly cloned: boolean };
  /** Writes to the file of a draft, also one of another store in the same directory. */
  copyTo(draft: Fd): Copy;
  /** Takes a draft, all of whose `size` bytes have this raw digest. */
  finishObject(draft: Draft, digest: Uint8Array, size: number): void;
  /** Names the objects that wait for it, and returns when all that were added are durable. */
  sync(): void;
  /** What was added and not there before. Counts when it gets its name. */
  readonly written: WrittenObjects;
}

export interface WrittenObjects {
  readonly objects: number;
  readonly bytes: number;
}

export interface ObjectStoreOptions {
  /** Make the directory, and those above it, where they are missing. */
  readonly create?: boolean;
  /** Default sha256. */
  readonly algorithm?: VerityAlgorithm;
}

/** Opens an object store for writing. Throws `RequestError` if its directory cannot be opened or made. */
export function openObjectStore(path: string, { create, algorithm = 'sha256' }: ObjectStoreOptions = {}): ObjectStore {
  const directory = orCannotOpen(`the object store ${path}`, () => {
    if (create === true) mkdirSync(path, { recursive: true, mode: 0o755 });
    return openPath(path, O_RDONLY | O_DIRECTORY);
  });
  return objectStoreIn(directory, path, createFileHasher(algorithm));
}

/** The store in a directory, which is called `path` in errors. Takes the descriptor; shares the hasher. */
export function objectStoreIn(directory: OwnedFd, path: string, hasher: FileHasher): ObjectStore {
  const { algorithm } = hasher;
  const drafts = openDrafts(directory);
  const naming = createNaming(directory, algorithm);
  const sharing = createSharing();

  const copyTo =
    (file: Fd): Copy =>
    (bytes, offset) =>
      inStore(path, () => writeAllAt(file, bytes, offset));
  const startObject = (source: SizedFile): { draft: Draft; cloned: boolean } =>
    inStore(path, () => {
      const draft = drafts.make();
      return orDiscard(draft, () => {
        const cloned = sharing.clone(source, draft.file);
        // Holes of the file stay holes.
        if (!cloned) truncate(draft.file, source.size);
        return { draft, cloned };
      });
    });
  const finishObject = (draft: Draft, digest: Uint8Array, size: number): void =>
    orDiscard(draft, () => inStore(path, () => naming.add(draft, digest, size)));
  const keepBytes = (digest: Uint8Array, bytes: Uint8Array): void =>
    inStore(path, () => {
      if (naming.isThere(digest, bytes.length)) return;
      const draft = drafts.make();
      orDiscard(draft, () => {
        writeAllAt(draft.file, bytes, 0);
        naming.add(draft, digest, bytes.length);
      });
    });
  const copyFile = (source: SizedFile): Uint8Array | undefined => {
    const { draft, cloned } = startObject(source);
    const digest = orDiscard(draft, () =>
      cloned ? hashFile(hasher, { file: draft.file, size: source.size }) : hashFile(hasher, source, copyTo(draft.file)),
    );
    if (digest === undefined) draft[Symbol.dispose]();
    else finishObject(draft, digest, source.size);
    return digest;
  };

  return {
    algorithm,
    hasher,
    directory,
    path,
    addBytes(bytes) {
      const digest = hasher.hashBytes(bytes);
      keepBytes(digest, bytes);
      return verityDigestFromBytes(algorithm, digest);
    },
    addFile(source) {
      if (source.size > RANGE || sharing.isPossible(source)) return copyFile(source);
      const whole = hasher.hashWhole(source);
      if (whole !== undefined) keepBytes(whole.digest, whole.bytes);
      return whole?.digest;
    },
    startObject,
    copyTo,
    finishObject,
    sync: () => inStore(path, naming.sync),
    written: naming.written,
    [Symbol.dispose]() {
      naming[Symbol.dispose]();
      drafts[Symbol.dispose]();
      directory.close();
    },
  };
}
