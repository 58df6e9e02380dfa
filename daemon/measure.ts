// The fs-verity digest of an image, learnt in a way that its owner cannot undo afterwards: from the kernel, from a private copy, or
// from a file that only root can write.
import { parseVerityDigest, verityDigestFromBytes, type VerityAlgorithm, type VerityDigest } from '../core/image/digest.js';
import { FormatError } from '../core/image/format-error.js';
import { parseSuperblock, SUPERBLOCK_WINDOW, type ImageHeader } from '../core/image/superblock.js';
import { isErrno } from '../core/kernel/error.js';
import type { Fd, OwnedFd } from '../core/kernel/fd.js';
import { readAt } from '../core/kernel/file.js';
import { statFd, type FileStatus } from '../core/kernel/stat.js';
import { measureVerity } from '../core/kernel/verity.js';
import { RequestError } from '../core/wire/errors.js';
import type { Copies } from './copies.js';
import type { WorkerPool } from './worker/pool.js';

/** An image whose bytes are known and fixed. */
export interface MeasuredImage {
  /** What to mount; never the caller's own file unless the kernel's fs-verity seals it. */
  readonly file: OwnedFd;
  readonly digest: VerityDigest;
  readonly verified: 'kernel' | 'copy';
  /** Present for a private copy that has no name yet. */
  readonly keep?: () => void;
}

export interface Measurer {
  /** A file of a repository, which is closed or becomes the result's. */
  measureRepositoryFile(file: OwnedFd, algorithm: VerityAlgorithm, user: number): Promise<MeasuredImage>;
  /** A caller's file, which is closed or becomes the result's. */
  measureCallerFile(file: OwnedFd, algorithm: VerityAlgorithm, user: number): Promise<MeasuredImage>;
  /** Digests of root-owned files that are remembered. */
  count(): number;
  close(): void;
}

// linux/magic.h. Only these implement fs-verity in the kernel; a FUSE server would answer the same question as it likes.
export const VERITY_FILE_SYSTEMS = new Set([0xef53 /* ext4 */, 0x9123683e /* btrfs */, 0xf2f52010 /* f2fs */]);

const MAX_REMEMBERED = 256;
/** Milliseconds. */
export const INSPECT_TIMEOUT = 10_000;
/** A file that changed so lately could change again without its ctime showing it. Nanoseconds. */
const CTIME_GRAIN = 20_000_000n;

/** Generous for the slowest disk: half a minute, and 20 MB/s beyond. Milliseconds. */
const hashTimeout = (size: number): number => 30_000 + size / 20_000;

function sameState(a: FileStatus, b: FileStatus): boolean {
  return a.device === b.device && a.inode === b.inode && a.size === b.size && a.ctime === b.ctime;
}

function onlyRootWrites(status: FileStatus): boolean {
  return status.uid === 0 && (status.permissions & 0o022) === 0;
}

/** Kind of image, from the first bytes of a file that can no longer change. Throws RequestError BadImage. */
export function readImageHeader(file: Fd): ImageHeader {
  const bytes = Buffer.allocUnsafe(SUPERBLOCK_WINDOW);
  const length = readAt(file, bytes, 0);
  try {
    return parseSuperblock(bytes.subarray(0, length), statFd(file).size);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new RequestError('BadImage', error.message, { cause: error });
  }
}

export function createMeasurer(workers: WorkerPool, copies: Copies): Measurer {
  /** Root-owned files hashed in place; the descriptor keeps the inode number from being used again. */
  const remembered = new Map<string, { file: OwnedFd; status: FileStatus; digest: VerityDigest }>();

  async function hash(
    file: OwnedFd,
    copy: OwnedFd | null,
    size: number,
    algorithm: VerityAlgorithm,
    user: number,
    onReleased: () => void = () => {},
  ) {
    const closeAfter: OwnedFd[] = [];
    try {
      for (const fd of copy ? [file, copy] : [file]) closeAfter.push(fd.duplicate());
    } catch (error) {
      for (const fd of closeAfter) fd.close();
      onReleased();
      throw error;
    }
    const job = { kind: 'hash', file: closeAfter[0]!.raw, copy: closeAfter[1]?.raw ?? null, size, algorithm } as const;
    try {
      const { digest } = await workers.run(job, { user, timeoutMs: hashTimeout(size), closeAfter, onReleased });
      return parseVerityDigest(digest);
    } catch (error) {
      if (error instanceof RequestError) throw error;
      if (isErrno(error, 'ENOSPC', 'EDQUOT')) {
        throw new RequestError('QuotaExceeded', 'there is no room for a private copy of the image', { cause: error });
      }
      throw new RequestError('BadImage', 'the image could not be read to its end', { cause: error });
    }
  }

  async function hashInPlace(file: OwnedFd, algorithm: VerityAlgorithm, user: number): Promise<VerityDigest> {
    const before = statFd(file);
    const key = `${algorithm} ${before.device} ${before.inode}`;
    const known = remembered.get(key);
    if (known && sameState(known.status, before)) return known.digest;
    const digest = await hash(file, null, before.size, algorithm, user);
    if (!sameState(before, statFd(file))) throw new RequestError('Failed', 'the image changed while it was read; try again');
    if (BigInt(Date.now()) * 1_000_000n - before.ctime > CTIME_GRAIN) {
      remembered.get(key)?.file.close();
      remembered.delete(key);
      remembered.set(key, { file: file.duplicate(), status: before, digest });
      forgetOldest();
    }
    return digest;
  }

  function forgetOldest(): void {
    if (remembered.size <= MAX_REMEMBERED) return;
    const [key, { file }] = remembered.entries().next().value!;
    file.close();
    remembered.delete(key);
  }

  async function copyPrivately(file: OwnedFd, algorithm: VerityAlgorithm, user: number): Promise<MeasuredImage> {
    const { size } = statFd(file);
    const { file: copy, done } = createOrClose(file, size, user);
    try {
      const digest = await hash(file, copy, size, algorithm, user, done);
      return { file: copy, digest, verified: 'copy', keep: () => copies.keep(copy, digest, user) };
    } catch (error) {
      copy.close();
      throw error;
    } finally {
      file.close();
    }
  }

  function createOrClose(file: OwnedFd, size: number, user: number) {
    try {
      return copies.create(size, user);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  return {
    async measureRepositoryFile(file, algorithm, user) {
      try {
        const verity = measureVerity(file);
        if (verity.state === 'enabled') {
          return { file, digest: verityDigestFromBytes(verity.algorithm, verity.digest), verified: 'kernel' };
        }
        if (!onlyRootWrites(statFd(file))) return await copyPrivately(file, algorithm, user);
        return { file, digest: await hashInPlace(file, algorithm, user), verified: 'copy' };
      } catch (error) {
        file.close();
        throw error;
      }
    },
    async measureCallerFile(file, algorithm, user) {
      let inspected;
      try {
        const given = file.duplicate();
        const options = { user, timeoutMs: INSPECT_TIMEOUT, closeAfter: [given] };
        inspected = await workers.run({ kind: 'inspect', file: given.raw }, options);
      } catch (error) {
        file.close();
        throw error;
      }
      if (inspected.verity === 'enabled' && VERITY_FILE_SYSTEMS.has(inspected.magic)) {
        const digest = verityDigestFromBytes(inspected.algorithm!, Buffer.from(inspected.digest!, 'hex'));
        return { file, digest, verified: 'kernel' };
      }
      return copyPrivately(file, algorithm, user);
    },
    count: () => remembered.size,
    close() {
      for (const { file } of remembered.values()) file.close();
      remembered.clear();
    },
  };
}
