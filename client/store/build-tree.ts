import type { VerityAlgorithm } from '../../core/image/digest.js';
import type { Node } from '../../core/image/tree.js';
import { O_DIRECTORY, O_RDONLY, openPath } from '../../core/kernel/file.js';
import { createFileHasher } from './file-hasher.js';
import { createFileQueue } from './file-queue.js';
import type { ObjectStore, WrittenObjects } from './object-store.js';
import { orCannotOpen } from './path-error.js';
import { type ScanOptions, scanTree } from './scan-tree.js';
import { type ThreadOptions, type Threads, createThreads, doJobs } from './threads.js';
import { type Surroundings, fileReaderOf } from './work.js';

export interface BuildOptions extends ScanOptions, ThreadOptions {
  /** Default sha256, or the store's. */
  readonly algorithm?: VerityAlgorithm;
  /** Takes the files that are not in the image itself. */
  readonly store?: ObjectStore | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** Regular files that have bytes, and those bytes. */
export interface Progress {
  readonly found: { readonly files: number; readonly bytes: number };
  readonly read: { readonly files: number; readonly bytes: number };
  /** False while more may be found. */
  readonly complete: boolean;
}

export interface BuiltTree {
  readonly root: Node;
  /** Objects that the store did not have when it was opened. They are durable. */
  readonly written: WrittenObjects;
}

/** Reads a directory, files included, into a tree that an image can be written of. Throws `RequestError` that names the path at fault. */
export async function buildTree(path: string, options: BuildOptions = {}): Promise<BuiltTree> {
  const shown = Buffer.from(path).toString('latin1').replace(/\/+$/, '');
  using root = orCannotOpen(`the directory ${path}`, () => openPath(path, O_RDONLY | O_DIRECTORY));
  const { store, algorithm = store?.algorithm ?? 'sha256' } = options;
  const surroundings: Surroundings = {
    root: root.raw,
    shown,
    algorithm,
    store: store && { directory: store.directory.raw, path: store.path },
    xattrs: { skipXattrs: options.skipXattrs, userXattrs: options.userXattrs },
  };
  const reader = fileReaderOf(surroundings, store?.hasher ?? createFileHasher(algorithm), store);
  using queue = createFileQueue(reader, algorithm);
  const threads = createThreads(surroundings, queue, options);
  const report = (complete: boolean): void => options.onProgress?.({ found: queue.found, read: queue.read, complete });
  try {
    const tree = scanTree(root, shown, options, (file) => {
      if (!queue.add(file)) return;
      threads.exchange();
      report(false);
    });
    queue.end();
    await doJobs(reader, queue, threads, () => report(true));
    return { root: tree, written: await syncAll(store, threads) };
  } finally {
    // Before any descriptor is closed that they may be using.
    await threads.close();
  }
}

async function syncAll(store: ObjectStore | undefined, threads: Threads): Promise<WrittenObjects> {
  const { objects, bytes } = await threads.sync();
  if (store === undefined) return { objects, bytes };
  store.sync();
  return { objects: objects + store.written.objects, bytes: bytes + store.written.bytes };
}
