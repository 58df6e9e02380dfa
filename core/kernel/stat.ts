import type { Fd } from './fd.js';
import { AT_FDCWD, bind } from './libc.js';

const statxCall = bind('statx', ['fd', 'path', 'int', 'u32', 'buffer']);
const statxEntryCall = bind('statx', ['fd', 'name', 'int', 'u32', 'buffer']);
const fstatfsCall = bind('fstatfs', ['fd', 'buffer']);

// linux/stat.h, linux/fcntl.h
const AT_EMPTY_PATH = 0x1000;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_STATX_DONT_SYNC = 0x4000;
const STATX_BASIC_STATS = 0x7ff;
const STATX_MNT_ID_UNIQUE = 0x4000;
const S_IFMT = 0o170000;

export type FileType = 'file' | 'directory' | 'symlink' | 'block' | 'character' | 'fifo' | 'socket' | 'other';

const typeOfMode: Record<number, FileType> = {
  0o100000: 'file',
  0o040000: 'directory',
  0o120000: 'symlink',
  0o060000: 'block',
  0o020000: 'character',
  0o010000: 'fifo',
  0o140000: 'socket',
};

/** statx(2), without asking a (network or FUSE) file system to refresh what it knows. Times in nanoseconds. */
export interface FileStatus {
  readonly type: FileType;
  readonly permissions: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly inode: bigint;
  /** Device number of the file system: major in the upper, minor in the lower 32 bits. */
  readonly device: bigint;
  /** Device number the node stands for (block and character devices). */
  readonly rdev: bigint;
  readonly ctime: bigint;
  readonly mtime: bigint;
  /** Unique id of the mount it was reached by (Linux 6.8), else 0. */
  readonly mountId: bigint;
  readonly nlink: number;
}

function parseStatx(bytes: Buffer): FileStatus {
  const mode = bytes.readUInt16LE(28);
  const time = (at: number) => bytes.readBigInt64LE(at) * 1_000_000_000n + BigInt(bytes.readUInt32LE(at + 8));
  const deviceAt = (at: number) => (BigInt(bytes.readUInt32LE(at)) << 32n) | BigInt(bytes.readUInt32LE(at + 4));
  return {
    type: typeOfMode[mode & S_IFMT] ?? 'other',
    permissions: mode & 0o7777,
    uid: bytes.readUInt32LE(20),
    gid: bytes.readUInt32LE(24),
    nlink: bytes.readUInt32LE(16),
    inode: bytes.readBigUInt64LE(32),
    size: Number(bytes.readBigUInt64LE(40)),
    ctime: time(96),
    mtime: time(112),
    rdev: deviceAt(128),
    device: deviceAt(136),
    mountId: bytes.readUInt32LE(0) & STATX_MNT_ID_UNIQUE ? bytes.readBigUInt64LE(144) : 0n,
  };
}

/** Status of an open descriptor (O_PATH too). */
export function statFd(fd: Fd): FileStatus {
  const buffer = Buffer.allocUnsafe(256);
  statxCall(fd.raw, '', AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS | STATX_MNT_ID_UNIQUE, buffer);
  return parseStatx(buffer);
}

/** Status of a path below a directory, or of a path; a symlink at its end is not followed. */
export function statAt(directory: Fd | null, path: string): FileStatus {
  const buffer = Buffer.allocUnsafe(256);
  const flags = AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC;
  statxCall(directory?.raw ?? AT_FDCWD, path, flags, STATX_BASIC_STATS | STATX_MNT_ID_UNIQUE, buffer);
  return parseStatx(buffer);
}

/** What a copy of a file's attributes needs, refreshed as stat(2) does. */
export interface EntryStatus {
  /** Type and permissions. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  /** As Linux packs a device number into 32 bits. */
  readonly rdev: number;
  readonly size: bigint;
  /** Seconds. */
  readonly mtime: bigint;
  readonly mtimeNsec: number;
  /** Equal strings: the same file, in the same state as far as attributes, size, mtime and ctime tell. */
  readonly state: string;
}

const entryBuffer = Buffer.allocUnsafeSlow(256);
// Quicker to read than the buffer: trees have many entries.
const entry32 = new Uint32Array(entryBuffer.buffer);
const entry64 = new BigInt64Array(entryBuffer.buffer);

function parseEntry(): EntryStatus {
  const [major, minor] = [entry32[32]!, entry32[33]!];
  // Of struct statx, what changes by being read or says nothing of its own: stx_blocks, stx_attributes_mask, stx_atime, stx_btime.
  entry32.fill(0, 12, 24);
  return {
    mode: entry32[7]! & 0xffff,
    nlink: entry32[4]!,
    uid: entry32[5]!,
    gid: entry32[6]!,
    rdev: ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)) >>> 0,
    size: entry64[5]!,
    mtime: entry64[14]!,
    mtimeNsec: entry32[30]!,
    // From stx_nlink to stx_dev_minor.
    state: entryBuffer.toString('latin1', 16, 144),
  };
}

/** Of two equal strings, both are of one file: its file system and inode number. */
export function identityOf({ state }: EntryStatus): string {
  return state.slice(16, 24) + state.slice(120, 128);
}

/** Status of one entry of a directory, given by the bytes of its name (latin1); a symlink's own. */
export function statEntry(directory: Fd, name: string): EntryStatus {
  statxEntryCall(directory.raw, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, entryBuffer);
  return parseEntry();
}

/** The same of an open file. */
export function statOpenEntry(file: Fd): EntryStatus {
  statxEntryCall(file.raw, '', AT_EMPTY_PATH, STATX_BASIC_STATS, entryBuffer);
  return parseEntry();
}

/** True if both are the same inode of the same file system. */
export function sameInode(a: FileStatus, b: FileStatus): boolean {
  return a.device === b.device && a.inode === b.inode;
}

/** Magic number of the file system of a descriptor (linux/magic.h). May ask the file system: call it where a hang is allowed. */
export function fileSystemMagic(fd: Fd): number {
  const buffer = Buffer.alloc(120); // struct statfs
  fstatfsCall(fd.raw, buffer);
  return Number(buffer.readBigUInt64LE(0) & 0xffff_ffffn);
}
