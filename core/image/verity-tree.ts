import { hash } from 'node:crypto';
import { DIGEST_SIZE, type VerityAlgorithm } from './digest.js';

export const VERITY_BLOCK = 4096;
const LOG_BLOCK = 12;

/** linux/fsverity.h FS_VERITY_HASH_ALG_* */
export const ALGORITHM_ID: Readonly<Record<VerityAlgorithm, number>> = { sha256: 1, sha512: 2 };

/** Hashes `count` blocks of 4096 bytes (or `length`) that follow each other from `from`; the hashes follow each other in `out` from `at`. */
export type HashBlocks = (bytes: Uint8Array, from: number, count: number, out: Uint8Array, at: number, length?: number) => void;

/** With what every Node has: a call and a few allocations for each block. */
export function nodeBlockHasher(algorithm: VerityAlgorithm): HashBlocks {
  const size = DIGEST_SIZE[algorithm];
  return (bytes, from, count, out, at, length = VERITY_BLOCK) => {
    for (let index = 0; index < count; index += 1) {
      const start = from + index * length;
      out.set(hash(algorithm, bytes.subarray(start, start + length), 'buffer'), at + index * size);
    }
  };
}

/** The Merkle tree of one file after the other. Only the block being filled is kept of each level. */
export interface VerityTree {
  /** Takes the next `count` blocks of the file; the caller pads the last one with zeros. */
  pushBlocks(bytes: Uint8Array, from: number, count: number): void;
  /** Takes the next hashes of a level, where the caller has hashed what is below: 0 holds the hashes of data, 1 those of level 0, and so on. */
  pushHashes(level: number, hashes: Uint8Array): void;
  /** Ends the file, of `size` bytes, and returns its raw digest, which stays valid until the next one. The tree is empty again. */
  digest(size: number): Uint8Array;
  /** Forgets a file that turns out not to be wanted. */
  clear(): void;
}

interface Level {
  readonly block: Uint8Array;
  fill: number;
  /** Hashes that ever reached this level; the topmost level that has one alone holds the root. */
  hashes: number;
}

/** fs-verity with 4096-byte blocks and no salt (Documentation/filesystems/fsverity.rst). */
export function createVerityTree(algorithm: VerityAlgorithm, hashBlocks = nodeBlockHasher(algorithm)): VerityTree {
  const hashSize = DIGEST_SIZE[algorithm];
  const levels: Level[] = [];
  const result = new Uint8Array(hashSize);
  const descriptor = newDescriptor(algorithm);
  const descriptorSize = new DataView(descriptor.buffer);

  const levelAt = (index: number): Level => (levels[index] ??= { block: new Uint8Array(VERITY_BLOCK), fill: 0, hashes: 0 });
  const added = (index: number, level: Level, count: number): void => {
    level.fill += count * hashSize;
    level.hashes += count;
    if (level.fill === VERITY_BLOCK) flush(index, level);
  };
  const flush = (index: number, level: Level): void => {
    level.block.fill(0, level.fill);
    level.fill = 0;
    const above = levelAt(index + 1);
    hashBlocks(level.block, 0, 1, above.block, above.fill);
    added(index + 1, above, 1);
  };
  const roomOf = (level: Level): number => (VERITY_BLOCK - level.fill) / hashSize;

  /** Hashes what is left on each level, upwards, until a level holds a single hash. An empty file has a root of zeros. */
  const closeTree = (): Uint8Array => {
    for (let index = 0; index < levels.length; index += 1) {
      const level = levels[index] as Level;
      if (level.hashes === 1) return level.block.subarray(0, hashSize);
      if (level.fill > 0) flush(index, level);
    }
    return new Uint8Array(hashSize);
  };

  const clear = (): void => {
    for (const level of levels) level.fill = level.hashes = 0;
  };

  return {
    clear,
    pushBlocks(bytes, from, count) {
      const level = levelAt(0);
      for (let done = 0; done < count;) {
        const taken = Math.min(count - done, roomOf(level));
        hashBlocks(bytes, from + done * VERITY_BLOCK, taken, level.block, level.fill);
        added(0, level, taken);
        done += taken;
      }
    },
    pushHashes(index, hashes) {
      for (let below = 0; below < index; below += 1) levelAt(below);
      const level = levelAt(index);
      for (let at = 0; at < hashes.length;) {
        const taken = Math.min((hashes.length - at) / hashSize, roomOf(level));
        level.block.set(hashes.subarray(at, at + taken * hashSize), level.fill);
        added(index, level, taken);
        at += taken * hashSize;
      }
    },
    digest(size) {
      const root = closeTree();
      clear();
      descriptorSize.setBigUint64(8, BigInt(size), true);
      descriptor.set(root, 16);
      hashBlocks(descriptor, 0, 1, result, 0, descriptor.length);
      return result;
    },
  };
}

/** struct fsverity_descriptor of linux/fsverity.h, as the kernel hashes it: no salt, no signature. Data size is at 8, root hash at 16. */
function newDescriptor(algorithm: VerityAlgorithm): Uint8Array {
  const descriptor = new Uint8Array(256);
  descriptor[0] = 1; // version
  descriptor[1] = ALGORITHM_ID[algorithm];
  descriptor[2] = LOG_BLOCK;
  return descriptor;
}
