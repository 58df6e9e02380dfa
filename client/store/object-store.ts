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
  /** Is there such an object, or about to be? */
  has(digest: Uint8Array, size: number): boolean;
  /** A draft that shares the blocks of a file, and what happens to the file does not change it; undefined if that cannot be. */
  clone(source: SizedFile): Draft | undefined;
  /** A draft of so many bytes, all zero and none on the disk. */
  makeDraft(size: number): Draft;
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
  const clone = (source: SizedFile): Draft | undefined => {
    if (!sharing.isPossible(source)) return undefined;
    return inStore(path, () => {
      const draft = drafts.make();
      if (orDiscard(draft, () => sharing.clone(source, draft.file))) return draft;
      draft[Symbol.dispose]();
      return undefined;
    });
  };
  const makeDraft = (size: number): Draft =>
    inStore(path, () => {
      const draft = drafts.make();
      orDiscard(draft, () => truncate(draft.file, size));
      return draft;
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
  const finishRead = (draft: Draft, size: number, read: () => Uint8Array | undefined): Uint8Array | undefined => {
    const digest = orDiscard(draft, read);
    if (digest === undefined) draft[Symbol.dispose]();
    else finishObject(draft, digest, size);
    return digest;
  };
  /** Hashes a file to know whether it must be copied, and again what is copied. */
  const addLongFile = (source: SizedFile): Uint8Array | undefined => {
    const digest = hashFile(hasher, source);
    if (digest === undefined || naming.isThere(digest, source.size)) return digest;
    const draft = makeDraft(source.size);
    return finishRead(draft, source.size, () => hashFile(hasher, source, copyTo(draft.file)));
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
      const shared = clone(source);
      if (shared !== undefined) return finishRead(shared, source.size, () => hashFile(hasher, { ...source, file: shared.file }));
      if (source.size > RANGE) return addLongFile(source);
      const whole = hasher.hashWhole(source);
      if (whole !== undefined) keepBytes(whole.digest, whole.bytes);
      return whole?.digest;
    },
    has: naming.isThere,
    clone,
    makeDraft,
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
