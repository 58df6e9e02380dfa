import type { ByteString } from './bytes.js';
import { FormatError } from './format-error.js';

/** File types: bits 12–15 of a mode (stat.h S_IFMT >> 12). */
export const FIFO = 0o01;
export const CHR = 0o02;
export const DIR = 0o04;
export const BLK = 0o06;
export const REG = 0o10;
export const LNK = 0o12;
export const SOCK = 0o14;
export const TYPES: ReadonlySet<number> = new Set([FIFO, CHR, DIR, BLK, REG, LNK, SOCK]);

export const MAX_NAME = 255; // linux/limits.h NAME_MAX
export const MAX_TARGET = 4095; // linux/limits.h PATH_MAX without its NUL
/** A payload is a path below an object store. */
export const MAX_PAYLOAD = 4095;
/** Bytes a file may carry inside the image (lcfs-writer.h LCFS_INLINE_CONTENT_MAX). */
export const MAX_CONTENT = 5000;
export const MAX_XATTR_KEY = 255; // linux/limits.h XATTR_NAME_MAX
export const MAX_XATTR_VALUE = 65535;
/** Of `xattrsSize`. */
export const MAX_XATTRS_SIZE = 32767;
/** 1024 chunks of 2^43 bytes. */
export const MAX_EXTERNAL_SIZE = 2n ** 53n;

/** One inode of a file tree. Every property is always there, so that trees of many hundred thousand nodes stay compact. */
export interface Node {
  /** Type and permissions, 16 bits. */
  mode: number;
  /** Data, never counted; without meaning for directories, where it follows from the children. */
  nlink: number;
  uid: number;
  gid: number;
  /** Device number as Linux packs it into 32 bits; 0 for all but CHR and BLK. */
  rdev: number;
  /** Bytes; u64. For LNK the length of the target, for DIR without meaning. */
  size: bigint;
  /** Seconds, i64. */
  mtime: bigint;
  /** u32; not required to be below 10⁹. */
  mtimeNsec: number;
  /** LNK: where it points. */
  target: ByteString | undefined;
  /** REG: the file's bytes when they are in the image itself. Empty files have none. */
  content: ByteString | undefined;
  /** External REG: path of its object below the object store. */
  payload: ByteString | undefined;
  /** External REG: raw fs-verity digest of its object, 32 (SHA-256) or 64 (SHA-512) bytes. */
  digest: ByteString | undefined;
  xattrs: ReadonlyMap<ByteString, ByteString>;
  /** DIR only, and always there. Kept in any order. */
  children: Map<ByteString, Entry> | undefined;
}

/** A further name of a node that is not a directory. The place where the node itself sits is its primary name. */
export interface Link {
  readonly link: Node;
}

export type Entry = Node | Link;

export function isLink(entry: Entry): entry is Link {
  return 'link' in entry;
}

export const NO_XATTRS: ReadonlyMap<ByteString, ByteString> = new Map();

/** A node with defaults for what is not given: nlink 1, everything else zero or absent; a DIR gets its map of children. */
export function makeNode(given: Partial<Node> & Pick<Node, 'mode'>): Node {
  return {
    mode: given.mode & 0xffff,
    nlink: given.nlink ?? 1,
    uid: given.uid ?? 0,
    gid: given.gid ?? 0,
    rdev: given.rdev ?? 0,
    size: given.size ?? BigInt(given.content?.length ?? given.target?.length ?? 0),
    mtime: given.mtime ?? 0n,
    mtimeNsec: given.mtimeNsec ?? 0,
    target: given.target,
    content: given.content,
    payload: given.payload,
    digest: given.digest,
    xattrs: given.xattrs ?? NO_XATTRS,
    children: given.children ?? (given.mode >> 12 === DIR ? new Map<ByteString, Entry>() : undefined),
  };
}

export function typeOf(node: Node): number {
  return node.mode >> 12;
}

/** A file whose bytes are an object outside the image. */
export function isExternal(node: Node): boolean {
  return typeOf(node) === REG && node.content === undefined && node.size > 0n;
}

/** A character device 0/0, which overlayfs takes for a deleted name. */
export function isWhiteout(node: Node): boolean {
  return typeOf(node) === CHR && node.rdev === 0;
}

/** What the format counts against MAX_XATTRS_SIZE. */
export function xattrsSize(xattrs: ReadonlyMap<ByteString, ByteString>): number {
  if (xattrs.size === 0) return 0;
  let size = 12;
  for (const [key, value] of xattrs) size += 7 + key.length + value.length;
  return size;
}

/** Refuses what cannot be the name of a directory entry. */
export function requireName(name: ByteString): void {
  if (name === '') throw new FormatError('name-empty', 'a file name is empty');
  if (name === '.' || name === '..') throw new FormatError('name-dot', 'a file cannot be named . or ..');
  if (name.length > MAX_NAME)
    throw new FormatError('name-length', `a file name has at most ${MAX_NAME} bytes, this one ${name.length}`);
  if (name.includes('/') || name.includes('\0')) throw new FormatError('name-characters', 'a file name holds a slash or a NUL');
}
