import { type VerityAlgorithm, objectPath, verityDigestFromBytes } from '../../core/image/digest.js';
import { changeMode, fsync, syncfs } from '../../core/kernel/durable.js';
import { isErrno } from '../../core/kernel/error.js';
import type { Fd, OwnedFd } from '../../core/kernel/fd.js';
import { O_DIRECTORY, O_RDONLY, makeDirectoryAt, openBeneath } from '../../core/kernel/file.js';
import { type FileStatus, statAt } from '../../core/kernel/stat.js';
import { createSealer } from './sealing.js';
import type { Draft } from './drafts.js';

/** Objects that get their names together: one wait for the disk is enough for all. Each keeps a descriptor open. */
const BATCH = 128;
/** So few are waited for one by one, which does not wait for what other programs write. */
const FEW = 4;

/** Gives objects their names, when they are on the disk. */
export interface Naming extends Disposable {
  /** Is there an object of this digest and size, with its name or waiting for it? */
  isThere(digest: Uint8Array, size: number): boolean;
  /** Takes a draft whose bytes have this digest. */
  add(draft: Draft, digest: Uint8Array, size: number): void;
  sync(): void;
  readonly written: { objects: number; bytes: number };
}

interface Waiting {
  readonly draft: Draft;
  readonly size: number;
}

export function createNaming(directory: Fd, algorithm: VerityAlgorithm): Naming {
  const sealer = createSealer(directory, algorithm);
  const waiting = new Map<string, Waiting>();
  /** Directories `xx`, held open: no link that somebody puts in place of one leads elsewhere. */
  const parents = new Map<string, OwnedFd>();
  /** Those among them whose names may not be durable. */
  const unsynced = new Set<string>();
  const written = { objects: 0, bytes: 0 };

  const pathOf = (digest: Uint8Array): string => objectPath(verityDigestFromBytes(algorithm, digest));
  const openParent = (path: string): OwnedFd | undefined => {
    const name = path.slice(0, 2);
    const known = parents.get(name);
    if (known !== undefined) return known;
    const opened = openIfThere(directory, name);
    if (opened !== undefined) parents.set(name, opened);
    return opened;
  };
  const makeParent = (path: string): OwnedFd => {
    const name = path.slice(0, 2);
    const made = makeDirectory(directory, name);
    parents.set(name, made);
    return made;
  };
  const isWhole = (path: string, size: number): boolean => {
    const parent = openParent(path);
    const status = parent && statIfThere(parent, path.slice(3));
    if (status?.type !== 'file' || status.size !== size) return false;
    // Whoever named it may not have waited for the disk.
    unsynced.add(path.slice(0, 2));
    return true;
  };
  const name = (path: string, { draft, size }: Waiting): void => {
    using _ = draft;
    const parent = openParent(path) ?? makeParent(path);
    unsynced.add(path.slice(0, 2));
    sealer.seal(draft, path);
    if (!publish(parent, draft, path.slice(3), size)) return;
    written.objects += 1;
    written.bytes += size;
  };
  const nameWaiting = (): void => {
    if (waiting.size > FEW) syncfs(directory);
    else for (const { draft } of waiting.values()) fsync(draft.file);
    for (const [path, object] of waiting) {
      waiting.delete(path);
      name(path, object);
    }
  };

  return {
    written,
    isThere(digest, size) {
      const path = pathOf(digest);
      return waiting.has(path) || isWhole(path, size);
    },
    add(draft, digest, size) {
      const path = pathOf(digest);
      if (waiting.has(path) || isWhole(path, size)) return draft[Symbol.dispose]();
      // As mkcomposefs has it, whatever the umask: readers are others.
      changeMode(draft.file, 0o644);
      waiting.set(path, { draft, size });
      if (waiting.size >= BATCH) nameWaiting();
    },
    sync() {
      nameWaiting();
      if (unsynced.size > FEW) syncfs(directory);
      else for (const path of unsynced.size > 0 ? [...unsynced, '.'] : []) syncDirectory(directory, path);
      unsynced.clear();
    },
    [Symbol.dispose]() {
      for (const { draft } of waiting.values()) draft[Symbol.dispose]();
      waiting.clear();
      for (const parent of parents.values()) parent.close();
      parents.clear();
    },
  };
}

/** False if another run has just named the same object. What has the name but cannot be the object, by its size, is replaced. */
function publish(parent: Fd, draft: Draft, name: string, size: number): boolean {
  const status = statIfThere(parent, name);
  if (status?.type === 'file' && status.size === size) return false;
  try {
    draft.publish(parent, name, status !== undefined);
    return true;
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return false;
    throw error;
  }
}

function statIfThere(directory: Fd, path: string): FileStatus | undefined {
  try {
    return statAt(directory, path);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

function openIfThere(directory: Fd, name: string): OwnedFd | undefined {
  try {
    return openBeneath(directory, name, O_RDONLY | O_DIRECTORY);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** As readable as the objects in it, whatever the umask. */
function makeDirectory(directory: Fd, name: string): OwnedFd {
  try {
    makeDirectoryAt(directory, name, 0o755);
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error;
    return openBeneath(directory, name, O_RDONLY | O_DIRECTORY); // another run's
  }
  const made = openBeneath(directory, name, O_RDONLY | O_DIRECTORY);
  changeMode(made, 0o755);
  return made;
}

function syncDirectory(directory: Fd, path: string): void {
  using opened = openBeneath(directory, path, O_RDONLY | O_DIRECTORY);
  fsync(opened);
}
