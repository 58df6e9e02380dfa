import { hash } from 'node:crypto';
import { DIGEST_SIZE, type VerityAlgorithm, type VerityDigest, verityDigestFromBytes } from './digest.js';

const BLOCK = 4096;
const LOG_BLOCK = 12;

const ALGORITHM_ID: Readonly<Record<VerityAlgorithm, number>> = { sha256: 1, sha512: 2 }; // linux/fsverity.h FS_VERITY_HASH_ALG_*

export interface VerityHasher {
  /** Takes the next bytes of the file, any number of them. The chunk may be reused after the call. */
  update(chunk: Uint8Array): void;
  /** Ends the file and returns its digest. Call it once. */
  digest(): VerityDigest;
}

/** One level of the Merkle tree: only the block being filled is kept. */
interface Level {
  readonly block: Uint8Array;
  fill: number;
  /** Hashes that ever reached this level; the level that ends with one holds the root. */
  hashes: number;
}

/** Computes an fs-verity digest (4096-byte blocks, no salt; Documentation/filesystems/fsverity.rst) in one pass, keeping one block per tree level. */
export function createVerityHasher(algorithm: VerityAlgorithm): VerityHasher {
  const levels: Level[] = [];
  const pending = new Uint8Array(BLOCK);
  let pendingFill = 0;
  let size = 0;
  let ended = false;

  const pushHash = (index: number, value: Uint8Array): void => {
    const level = (levels[index] ??= { block: new Uint8Array(BLOCK), fill: 0, hashes: 0 });
    level.block.set(value, level.fill);
    level.fill += value.length;
    level.hashes += 1;
    if (level.fill === BLOCK) flushLevel(level, index);
  };
  const flushLevel = (level: Level, index: number): void => {
    level.block.fill(0, level.fill);
    level.fill = 0;
    pushHash(index + 1, hash(algorithm, level.block, 'buffer'));
  };
  const flushPending = (): void => {
    pending.fill(0, pendingFill);
    pendingFill = 0;
    pushHash(0, hash(algorithm, pending, 'buffer'));
  };
  const topUpPending = (chunk: Uint8Array): number => {
    const taken = Math.min(BLOCK - pendingFill, chunk.length);
    pending.set(chunk.subarray(0, taken), pendingFill);
    pendingFill += taken;
    if (pendingFill === BLOCK) flushPending();
    return taken;
  };
  const requireOpen = (): void => {
    if (ended) throw new Error('this fs-verity hasher has already given its digest');
  };

  return {
    update(chunk) {
      requireOpen();
      size += chunk.length;
      let at = pendingFill > 0 ? topUpPending(chunk) : 0;
      for (; at + BLOCK <= chunk.length; at += BLOCK) pushHash(0, hash(algorithm, chunk.subarray(at, at + BLOCK), 'buffer'));
      if (at < chunk.length) topUpPending(chunk.subarray(at));
    },
    digest() {
      requireOpen();
      ended = true;
      if (pendingFill > 0) flushPending();
      const root = closeTree(levels, flushLevel, DIGEST_SIZE[algorithm]);
      return verityDigestFromBytes(algorithm, hash(algorithm, encodeDescriptor(algorithm, size, root), 'buffer'));
    },
  };
}

/** Hashes what is left on each level, upwards, until a level holds a single hash. An empty file has a root of zeros. */
function closeTree(levels: readonly Level[], flushLevel: (level: Level, index: number) => void, digestSize: number): Uint8Array {
  for (let index = 0; ; index += 1) {
    const level = levels[index];
    if (level === undefined) return new Uint8Array(digestSize);
    if (level.hashes === 1) return level.block.subarray(0, digestSize);
    if (level.fill > 0) flushLevel(level, index);
  }
}

/** struct fsverity_descriptor of linux/fsverity.h, as the kernel hashes it: no salt, no signature. */
function encodeDescriptor(algorithm: VerityAlgorithm, size: number, root: Uint8Array): Uint8Array {
  const descriptor = new Uint8Array(256);
  descriptor[0] = 1; // version
  descriptor[1] = ALGORITHM_ID[algorithm];
  descriptor[2] = LOG_BLOCK;
  new DataView(descriptor.buffer).setBigUint64(8, BigInt(size), true);
  descriptor.set(root, 16);
  return descriptor;
}
