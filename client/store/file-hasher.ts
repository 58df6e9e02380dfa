// fs-verity digests of files, in ranges that any thread can hash on its own.
import { type VerityAlgorithm, DIGEST_SIZE } from '../../core/image/digest.js';
import { VERITY_BLOCK, createVerityTree, nodeBlockHasher } from '../../core/image/verity-tree.js';
import type { Fd } from '../../core/kernel/fd.js';
import { readAt } from '../../core/kernel/file.js';
import { findData } from '../../core/kernel/durable.js';
import { loadBlockHasher } from '../../core/kernel/sha2.js';

/** Bytes of a range: a whole number of the stretches that one block of hashes covers, with either algorithm. */
export const RANGE = 8 << 20;

/** A file open for reading, of which `size` bytes are wanted. */
export interface SizedFile {
  readonly file: Fd;
  readonly size: number;
}

/** Takes bytes of a file and their offset in it. They are valid during the call. */
export type Copy = (bytes: Uint8Array, offset: number) => void;

/** Results stay valid until the next call. Memory: one range. */
export interface FileHasher {
  readonly algorithm: VerityAlgorithm;
  /** Digest and bytes of a file of at most one range; undefined if it is shorter than said. */
  hashWhole(source: SizedFile): { readonly digest: Uint8Array; readonly bytes: Uint8Array } | undefined;
  /** Hashes of level 1 of a range of a longer file. What is hashed goes to `copy`, but for holes. Undefined if the file is shorter than said. */
  hashRange(source: SizedFile, offset: number, copy?: Copy): Uint8Array | undefined;
  /** Digest from the hashes of all ranges, in their order. */
  joinRanges(ranges: Iterable<Uint8Array>, size: number): Uint8Array;
  /** Digest of bytes in memory. */
  hashBytes(bytes: Uint8Array): Uint8Array;
}

export function createFileHasher(algorithm: VerityAlgorithm): FileHasher {
  const hashBlocks = loadBlockHasher(algorithm) ?? nodeBlockHasher(algorithm);
  const tree = createVerityTree(algorithm, hashBlocks);
  const hashSize = DIGEST_SIZE[algorithm];
  /** Bytes whose hashes fill one block of level 0. */
  const stretch = (VERITY_BLOCK / hashSize) * VERITY_BLOCK;
  const buffer = Buffer.allocUnsafeSlow(RANGE);
  const hashes = new Uint8Array(VERITY_BLOCK);
  const ofHoles = new Map<number, Uint8Array>();

  /** Reads bytes of a file to a place in the buffer, and fills the last block up with zeros; returns the number of blocks. */
  const read = (file: Fd, offset: number, length: number, at: number): number | undefined => {
    for (let done = 0; done < length;) {
      const room = at + done === 0 ? buffer : buffer.subarray(at + done);
      const count = readAt(file, room, offset + done, length - done);
      if (count === 0) return undefined;
      done += count;
    }
    return pad(at, length);
  };
  const pad = (at: number, length: number): number => {
    const blocks = Math.ceil(length / VERITY_BLOCK);
    buffer.fill(0, at + length, at + blocks * VERITY_BLOCK);
    return blocks;
  };
  /** The hash that stands for a stretch on level 1. */
  const hashStretch = (blocks: number, out: Uint8Array, at: number): void => {
    hashBlocks(buffer, 0, blocks, hashes, 0);
    hashes.fill(0, blocks * hashSize);
    hashBlocks(hashes, 0, 1, out, at);
  };
  /** Hashes of level 1 of a range, stretch by stretch: what was just read is still in the processor's cache. */
  const hashStretches = (length: number, fill: (from: number, length: number) => number | undefined): Uint8Array | undefined => {
    const result = new Uint8Array(Math.ceil(length / stretch) * hashSize);
    for (let from = 0; from < length; from += stretch) {
      const blocks = fill(from, Math.min(stretch, length - from));
      if (blocks === undefined) return undefined;
      hashStretch(blocks, result, (from / stretch) * hashSize);
    }
    return result;
  };
  /** A range that is a hole need not be read. Its hashes are always the same. */
  const hashHole = (length: number): Uint8Array | undefined => {
    const result =
      ofHoles.get(length) ??
      hashStretches(length, (_, part) => {
        buffer.fill(0, 0, part);
        return pad(0, part);
      });
    if (result !== undefined) ofHoles.set(length, result);
    return result;
  };

  return {
    algorithm,
    hashWhole({ file, size }) {
      // What came of a file before it could not be read, or ended.
      tree.clear();
      for (let from = 0; from < size; from += stretch) {
        const blocks = read(file, from, Math.min(stretch, size - from), from);
        if (blocks === undefined) return undefined;
        tree.pushBlocks(buffer, from, blocks);
      }
      return { digest: tree.digest(size), bytes: buffer.subarray(0, size) };
    },
    hashRange({ file, size }, offset, copy) {
      const whole = Math.min(RANGE, size - offset);
      if (findData(file, offset) >= offset + whole) return hashHole(whole);
      return hashStretches(whole, (from, length) => {
        const blocks = read(file, offset + from, length, 0);
        if (blocks !== undefined) copy?.(buffer.subarray(0, length), offset + from);
        return blocks;
      });
    },
    joinRanges(ranges, size) {
      tree.clear();
      for (const range of ranges) tree.pushHashes(1, range);
      return tree.digest(size);
    },
    hashBytes(bytes) {
      tree.clear();
      const whole = Math.floor(bytes.length / VERITY_BLOCK);
      tree.pushBlocks(bytes, 0, whole);
      if (whole * VERITY_BLOCK < bytes.length) {
        const rest = bytes.subarray(whole * VERITY_BLOCK);
        buffer.set(rest);
        tree.pushBlocks(buffer, 0, pad(0, rest.length));
      }
      return tree.digest(bytes.length);
    },
  };
}

/** Raw digest of a file of any size. What is hashed goes to `copy`, but for holes. Undefined if the file is shorter than said. */
export function hashFile(hasher: FileHasher, source: SizedFile, copy?: Copy): Uint8Array | undefined {
  if (source.size <= RANGE) {
    const whole = hasher.hashWhole(source);
    if (whole !== undefined) copy?.(whole.bytes, 0);
    return whole?.digest;
  }
  const ranges: Uint8Array[] = [];
  for (let offset = 0; offset < source.size; offset += RANGE) {
    const range = hasher.hashRange(source, offset, copy);
    if (range === undefined) return undefined;
    ranges.push(range);
  }
  return hasher.joinRanges(ranges, source.size);
}
