import type { VerityAlgorithm, VerityDigest } from '../../core/image/digest.js';
import { createVerityHasher } from '../../core/image/verity-hash.js';
import type { Fd } from '../../core/kernel/fd.js';
import { readAt } from '../../core/kernel/file.js';
import { loadBlockHasher } from '../../core/kernel/sha2.js';
import type { Progress } from '../progress.js';

const CHUNK = 1 << 20;

export interface HashedFile<A extends VerityAlgorithm> {
  readonly digests: Readonly<Record<A, VerityDigest>>;
  /** Bytes that were read, to the end of the file. */
  readonly size: number;
}

/** Computes fs-verity digests of a file, reading it once. What is left to be read is not held in memory. */
export function hashFile<A extends VerityAlgorithm>(file: Fd, algorithms: readonly A[], progress?: Progress): HashedFile<A> {
  const hashers = algorithms.map((algorithm) => createVerityHasher(algorithm, loadBlockHasher(algorithm)));
  const buffer = Buffer.allocUnsafe(CHUNK);
  let size = 0;
  for (let count = readAt(file, buffer, 0); count > 0; count = readAt(file, buffer, size)) {
    for (const hasher of hashers) hasher.update(buffer.subarray(0, count));
    size += count;
    progress?.advance(count);
  }
  const digests = Object.fromEntries(hashers.map((hasher, index) => [algorithms[index], hasher.digest()]));
  return { digests: digests as Record<A, VerityDigest>, size };
}
