// statmount(2) and listmount(2), Linux 6.8.
import type { Fd } from './fd.js';
import { bindSyscall } from './libc.js';
import { statFd } from './stat.js';

const statmountCall = bindSyscall('statmount', 457, ['buffer', 'buffer', 'u64', 'u32']);
const listmountCall = bindSyscall('listmount', 458, ['buffer', 'buffer', 'u64', 'u32']);

// linux/mount.h
const STATMOUNT_SB_BASIC = 0x1;
const STATMOUNT_MNT_BASIC = 0x2;
const STATMOUNT_MNT_POINT = 0x10;
const STATMOUNT_FS_TYPE = 0x20;
const STATMOUNT_MNT_UIDMAP = 0x2000;
const STATMOUNT_MNT_GIDMAP = 0x4000;
const LSMT_ROOT = 0xffff_ffff_ffff_ffffn;
const STRINGS_AT = 512; // sizeof(struct statmount)

/** One line of an id map: `count` ids from `inside` (the user namespace) on are those from `outside` (the host) on. */
export interface IdRange {
  readonly inside: number;
  readonly outside: number;
  readonly count: number;
}

export interface MountInfo {
  readonly id: bigint;
  readonly parent: bigint;
  readonly type: string;
  readonly point: string;
  /** MOUNT_ATTR_* of the mount. */
  readonly attributes: number;
  /** SB_* flags of the superblock. */
  readonly superblockFlags: number;
  /** Id maps of an idmapped mount (Linux 6.15); null when the kernel did not tell. */
  readonly uidMap: IdRange[] | null;
  readonly gidMap: IdRange[] | null;
}

function request(mount: bigint, parameter: bigint, namespace: bigint): Buffer {
  const buffer = Buffer.alloc(32); // struct mnt_id_req, version 1 (Linux 6.11)
  buffer.writeUInt32LE(namespace === 0n ? 24 : 32, 0);
  buffer.writeBigUInt64LE(mount, 8);
  buffer.writeBigUInt64LE(parameter, 16);
  buffer.writeBigUInt64LE(namespace, 24);
  return buffer;
}

function readString(bytes: Buffer, offset: number): string {
  const start = STRINGS_AT + offset;
  return bytes.toString('utf8', start, bytes.indexOf(0, start));
}

function readIdMap(bytes: Buffer, count: number, offset: number): IdRange[] {
  const ranges: IdRange[] = [];
  let start = STRINGS_AT + offset;
  for (let i = 0; i < count; i++) {
    const end = bytes.indexOf(0, start);
    const [inside, outside, size] = bytes.toString('latin1', start, end).split(' ').map(Number);
    ranges.push({ inside: inside!, outside: outside!, count: size! });
    start = end + 1;
  }
  return ranges;
}

/** What the kernel knows of a mount, by its unique id, in this mount namespace or the one with the given id. */
export function statmount(mount: bigint, namespace = 0n): MountInfo {
  const mask =
    STATMOUNT_SB_BASIC |
    STATMOUNT_MNT_BASIC |
    STATMOUNT_MNT_POINT |
    STATMOUNT_FS_TYPE |
    STATMOUNT_MNT_UIDMAP |
    STATMOUNT_MNT_GIDMAP;
  const bytes = Buffer.alloc(65536);
  statmountCall(request(mount, BigInt(mask), namespace), bytes, bytes.length, 0);
  const told = Number(bytes.readBigUInt64LE(8));
  return {
    id: bytes.readBigUInt64LE(40),
    parent: bytes.readBigUInt64LE(48),
    type: told & STATMOUNT_FS_TYPE ? readString(bytes, bytes.readUInt32LE(36)) : '',
    point: told & STATMOUNT_MNT_POINT ? readString(bytes, bytes.readUInt32LE(108)) : '',
    attributes: Number(bytes.readBigUInt64LE(64)),
    superblockFlags: bytes.readUInt32LE(32),
    uidMap: told & STATMOUNT_MNT_UIDMAP ? readIdMap(bytes, bytes.readUInt32LE(152), bytes.readUInt32LE(156)) : null,
    gidMap: told & STATMOUNT_MNT_GIDMAP ? readIdMap(bytes, bytes.readUInt32LE(160), bytes.readUInt32LE(164)) : null,
  };
}

/** As `statmount`, for the mount an open descriptor was reached by; it must be attached in this mount namespace. */
export function statmountFd(fd: Fd): MountInfo {
  return statmount(statFd(fd).mountId);
}

/** Unique ids of all mounts of this mount namespace, or of the one with the given id (at most 65536). */
export function listmount(namespace = 0n): bigint[] {
  const ids = Buffer.alloc(8 * 65536);
  const count = listmountCall(request(LSMT_ROOT, 0n, namespace), ids, 65536, 0);
  return Array.from({ length: count }, (_, i) => ids.readBigUInt64LE(8 * i));
}
