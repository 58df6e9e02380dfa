// fs-verity digests of files, in ranges that any thread can hash on its own.
import { type VerityAlgorithm, DIGEST_SIZE } from '../../core/image/digest.js';
import { VERITY_BLOCK, createVerityTree, nodeBlockHasher } from '../../core/image/verity-tree.js';
import type { Fd } from '../../core/kernel/fd.js';
import { readAt, writeAllAt } from '../../core/kernel/file.js';
import { findData } from '../../core/kernel/durable.js';
import { loadBlockHasher } from '../../core/kernel/sha2.js';

/** Bytes of a range: a whole number of the stretches that one block of hashes covers, with either algorithm. */
export const RANGE = 8 << 20;

/** A file open for reading, of which `size` bytes are wanted. */
export interface SizedFile {
  readonly file: Fd;
  readonly size: number;
}

/** Results stay valid until the next call. Memory: one range. */
export interface FileHasher {
  readonly algorithm: VerityAlgorithm;
  /** Digest and bytes of a file of at most one range; undefined if it is shorter than said. */
  hashWhole(source: SizedFile): { readonly digest: Uint8Array; readonly bytes: Uint8Array } | undefined;
  /** Hashes of level 1 of a range of a longer file, copied to `target` if one is given; undefined if the file is shorter than said. */
  hashRange(source: SizedFile, offset: number, target?: Fd): Uint8Array | undefined;
  /** Digest from the hashes of all ranges, in their order. */
  joinRanges(ranges: Iterable<Uint8Array>, size: number): Uint8Array;
  /** Digest of bytes in memory. */
  hashBytes(bytes: Uint8Array): Uint8Array;
}

export function createFileHasher(algorithm: VerityAlgorithm): FileHasher {
  const hashBlocks = loadBlockHasher(algorithm) ?? nodeBlockHasher(algorithm);
  const tree = createVerityTree(algorithm, hashBlocks);
  const hashSize = DIGEST_SIZE[algorithm];
  const perStretch = VERITY_BLOCK / hashSize;
  const buffer = Buffer.allocUnsafeSlow(RANGE);
  const hashes = new Uint8Array(VERITY_BLOCK);
  const ofZeros = new Map<number, Uint8Array>();

  /** Fills the buffer from the file, and the last block up with zeros; returns the number of blocks. */
  const read = ({ file }: SizedFile, offset: number, length: number): number | undefined => {
    for (let done = 0; done < length;) {
      const count = readAt(file, buffer.subarray(done, length), offset + done);
      if (count === 0) return undefined;
      done += count;
    }
    return padBlocks(length);
  };
  const padBlocks = (length: number): number => {
    const blocks = Math.ceil(length / VERITY_BLOCK);
    buffer.fill(0, length, blocks * VERITY_BLOCK);
    return blocks;
  };
  const hashStretches = (blocks: number): Uint8Array => {
    const stretches = Math.ceil(blocks / perStretch);
    const result = new Uint8Array(stretches * hashSize);
    for (let index = 0; index < stretches; index += 1) {
      const count = Math.min(perStretch, blocks - index * perStretch);
      hashBlocks(buffer, index * perStretch * VERITY_BLOCK, count, hashes, 0);
      hashes.fill(0, count * hashSize);
      hashBlocks(hashes, 0, 1, result, index * hashSize);
    }
    return result;
  };
  /** A range that is a hole need not be read. Its hashes are always the same. */
  const hashHole = (length: number): Uint8Array => {
    let result = ofZeros.get(length);
    if (result === undefined) {
      buffer.fill(0, 0, length);
      ofZeros.set(length, (result = hashStretches(padBlocks(length))));
    }
    return result;
  };

  return {
    algorithm,
    hashWhole(source) {
      const blocks = read(source, 0, source.size);
      if (blocks === undefined) return undefined;
      tree.pushBlocks(buffer, 0, blocks);
      return { digest: tree.digest(source.size), bytes: buffer.subarray(0, source.size) };
    },
    hashRange(source, offset, target) {
      const length = Math.min(RANGE, source.size - offset);
      if (findData(source.file, offset) >= offset + length) return hashHole(length);
      const blocks = read(source, offset, length);
      if (blocks === undefined) return undefined;
      if (target !== undefined) writeAllAt(target, buffer.subarray(0, length), offset);
      return hashStretches(blocks);
    },
    joinRanges(ranges, size) {
      for (const range of ranges) tree.pushHashes(1, range);
      return tree.digest(size);
    },
    hashBytes(bytes) {
      const whole = Math.floor(bytes.length / VERITY_BLOCK);
      tree.pushBlocks(bytes, 0, whole);
      if (whole * VERITY_BLOCK < bytes.length) {
        const rest = bytes.subarray(whole * VERITY_BLOCK);
        buffer.set(rest);
        tree.pushBlocks(buffer, 0, padBlocks(rest.length));
      }
      return tree.digest(bytes.length);
    },
  };
}

/** Raw digest of a file of any size; what is hashed is copied to `target` if one is given. Undefined if the file is shorter than said. */
export function hashFile(hasher: FileHasher, source: SizedFile, target?: Fd): Uint8Array | undefined {
  if (source.size <= RANGE && target === undefined) return hasher.hashWhole(source)?.digest;
  const ranges: Uint8Array[] = [];
  for (let offset = 0; offset < source.size; offset += RANGE) {
    const range = hasher.hashRange(source, offset, target);
    if (range === undefined) return undefined;
    ranges.push(range);
  }
  return hasher.joinRanges(ranges, source.size);
}
