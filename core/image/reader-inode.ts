import { FormatError } from './format-error.js';
import { SLOT, chunkBitsOf, chunkCountOf } from './layout.js';
import { BLOCK } from './directory-blocks.js';
import { DIR, LNK, MAX_CONTENT, MAX_EXTERNAL_SIZE, MAX_TARGET, REG, TYPES } from './tree.js';
import { XATTR_HEADER } from './xattr-table.js';

export const PLAIN = 0;
export const INLINE = 2;
export const CHUNKS = 4;

/** An image being read. */
export interface ImageView {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** mtime of compact inodes. */
  readonly buildTime: bigint;
  readonly buildTimeNsec: number;
  /** Inodes end at or before this offset. */
  readonly inodesLimit: number;
  /** Take files above 2^52 bytes, whose chunk table may lie apart from its inode. */
  readonly hugeFiles: boolean;
}

/** An inode whose fields are consistent and inside the image. Offsets and sizes are bytes. */
export interface RawInode {
  readonly nid: number;
  readonly offset: number;
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: bigint;
  readonly mtime: bigint;
  readonly mtimeNsec: number;
  /** PLAIN, INLINE or CHUNKS. */
  readonly layout: number;
  /** i_u. */
  readonly locator: number;
  readonly xattrStart: number;
  /** End of the xattrs and start of the tail. */
  readonly tailStart: number;
  readonly tailSize: number;
  /** Whole data blocks. */
  readonly blocks: number;
}

/** Offset of an inode, which is checked to lie inside the image. The parts are those of a u64. */
export function requireNid(image: ImageView, low: number, high: number): number {
  if (high !== 0 || low * SLOT + 32 > image.inodesLimit) throw new FormatError('nid', 'an inode number points outside the image');
  return low;
}

/** i_ino of the inode with this nid. */
export function peekIno(image: ImageView, nid: number): number {
  return image.view.getUint32(nid * SLOT + 20, true);
}

export function readInode(image: ImageView, nid: number): RawInode {
  const { view } = image;
  const offset = nid * SLOT;
  const format = view.getUint16(offset, true);
  const extended = (format & 1) === 1;
  const layout = format >> 1;
  if (layout !== PLAIN && layout !== INLINE && layout !== CHUNKS)
    throw new FormatError('inode-format', 'an inode has an unknown format');
  const headSize = extended ? 64 : 32;
  if (offset + headSize > image.inodesLimit) throw new FormatError('inode-bounds', 'an inode is outside the inode area');
  requireReserved(view, offset, extended);
  const mode = view.getUint16(offset + 4, true);
  if (!TYPES.has(mode >> 12)) throw new FormatError('mode-type', 'an inode has no file type or an unknown one');
  const icount = view.getUint16(offset + 2, true);
  const xattrStart = offset + headSize;
  const tailStart = xattrStart + (icount === 0 ? 0 : XATTR_HEADER + 4 * (icount - 1));
  const size = extended ? view.getBigUint64(offset + 8, true) : BigInt(view.getUint32(offset + 8, true));
  const inode = {
    nid,
    offset,
    mode,
    nlink: extended ? view.getUint32(offset + 44, true) : view.getUint16(offset + 6, true),
    uid: extended ? view.getUint32(offset + 24, true) : view.getUint16(offset + 24, true),
    gid: extended ? view.getUint32(offset + 28, true) : view.getUint16(offset + 26, true),
    size,
    mtime: extended ? view.getBigInt64(offset + 32, true) : image.buildTime,
    mtimeNsec: extended ? view.getUint32(offset + 40, true) : image.buildTimeNsec,
    layout,
    locator: view.getUint32(offset + 16, true),
    xattrStart,
    tailStart,
    tailSize: 0,
    blocks: 0,
  };
  measureExtent(image, inode);
  if (tailStart + inode.tailSize > image.inodesLimit)
    throw new FormatError('inode-bounds', 'an inode ends outside the inode area');
  return inode;
}

function requireReserved(view: DataView, offset: number, extended: boolean): void {
  const clear = extended
    ? view.getUint16(offset + 6, true) === 0 &&
      view.getBigUint64(offset + 48, true) === 0n &&
      view.getBigUint64(offset + 56, true) === 0n
    : view.getUint32(offset + 12, true) === 0 && view.getUint32(offset + 28, true) === 0;
  if (!clear) throw new FormatError('inode-reserved', 'reserved bytes of an inode are not zero');
}

/** A RawInode whose extent is not known yet. One object, filled in: this runs for every inode. */
type Measured = RawInode & { tailSize: number; blocks: number };

/** Layout by type, and what follows from size and layout. */
function measureExtent(image: ImageView, inode: Measured): void {
  const type = inode.mode >> 12;
  if (inode.layout === CHUNKS) {
    measureChunks(image, inode, type);
    return;
  }
  if (type !== REG && type !== DIR && type !== LNK) {
    if (inode.layout !== PLAIN || inode.size !== 0n) throw new FormatError('inode-size', 'a device, FIFO or socket has a size');
    return;
  }
  requireSize(image, inode, type);
  const size = Number(inode.size);
  if (inode.layout === PLAIN) {
    inode.blocks = Math.ceil(size / BLOCK);
    return;
  }
  inode.tailSize = size % BLOCK;
  inode.blocks = Math.floor(size / BLOCK);
  if (inode.tailSize === 0) throw new FormatError('inode-tail', 'an inode with a tail has no bytes in it');
  requireInOneBlock(inode.tailStart, inode.tailSize);
}

function requireSize(image: ImageView, inode: RawInode, type: number): void {
  if (type === DIR && (inode.size === 0n || inode.size > BigInt(image.bytes.length)))
    throw new FormatError('inode-size', 'a directory is empty or larger than the image');
  if (type === LNK && (inode.size === 0n || inode.size > BigInt(MAX_TARGET)))
    throw new FormatError('target-length', `the target of a symbolic link has 1 to ${MAX_TARGET} bytes`);
  if (type === REG && inode.size > BigInt(MAX_CONTENT))
    throw new FormatError('content-length', `the content of a file has at most ${MAX_CONTENT} bytes`);
}

function requireInOneBlock(start: number, size: number): void {
  if ((start % BLOCK) + size > BLOCK) throw new FormatError('inode-tail', 'the tail of an inode crosses a block');
}

/** An external file: a table of null addresses, as long as its size wants it. */
function measureChunks(image: ImageView, inode: Measured, type: number): void {
  if (type !== REG) throw new FormatError('inode-format', 'only regular files are made of chunks');
  const { size } = inode;
  if (size === 0n || size > MAX_EXTERNAL_SIZE) throw new FormatError('external-size', 'an external file has 1 to 2^53 bytes');
  const huge = size > MAX_EXTERNAL_SIZE / 2n;
  if (huge && !image.hugeFiles) throw new FormatError('external-size', 'external files above 2^52 bytes are not taken');
  const bits = chunkBitsOf(size);
  if ((inode.locator & 0xffff) !== bits - 12)
    throw new FormatError('chunk-format', 'the chunk size does not follow from the file size');
  const tableSize = 4 * chunkCountOf(size, bits);
  if (isNullTable(image.bytes, inode.tailStart, tableSize)) inode.tailSize = tableSize;
  else if (huge) inode.blocks = 1;
  else throw new FormatError('chunk-table', 'a chunk address is not null, or the table crosses a block');
}

/** True if a table of null addresses lies there, in one block. */
export function isNullTable(bytes: Uint8Array, start: number, size: number): boolean {
  if ((start % BLOCK) + size > BLOCK || start + size > bytes.length) return false;
  for (let at = start; at < start + size; at += 1) if (bytes[at] !== 0xff) return false;
  return true;
}
