import type { VerityAlgorithm } from '../../core/image/digest.js';
import type { Node } from '../../core/image/tree.js';
import { O_DIRECTORY, O_NONBLOCK, O_RDONLY, openEntry, openPath } from '../../core/kernel/file.js';
import { createFileHasher } from './file-hasher.js';
import type { ObjectStore } from './object-store.js';
import { atPath } from './scan-error.js';
import { type ScanOptions, scanTree } from './scan-tree.js';
import { createXattrReader } from './scan-xattrs.js';
import { completeNode, readScannedFile } from './scanned-file.js';

export interface BuildOptions extends ScanOptions {
  /** Default sha256, or the store's. */
  readonly algorithm?: VerityAlgorithm;
  /** Takes the files that are not in the image itself. The caller syncs it. */
  readonly store?: ObjectStore | undefined;
}

/** Reads a directory, files included, into a tree that an image can be written of. Throws `RequestError` that names the path at fault. */
export function buildTree(path: string, options: BuildOptions = {}): Node {
  const shown = Buffer.from(path).toString('latin1').replace(/\/+$/, '');
  using root = atPath(shown === '' ? '/' : shown, () => openPath(path, O_RDONLY | O_DIRECTORY));
  const { store, algorithm = store?.algorithm ?? 'sha256' } = options;
  const reader = { hasher: createFileHasher(algorithm), xattrs: createXattrReader(options), store };
  return scanTree(root, shown, options, ({ directory, name, path: below, status, node }) => {
    const task = { path: shown + below, size: Number(status.size), state: status.state };
    completeNode(
      node,
      readScannedFile(reader, task, () => openEntry(directory, name, O_RDONLY | O_NONBLOCK)),
      algorithm,
    );
  });
}
