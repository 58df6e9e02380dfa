import { BLOCK, contentExtent, directoryExtent } from './directory-blocks.js';
import { FormatError } from './format-error.js';
import type { Inode, InodeList } from './inodes.js';
import { DIR, LNK, REG, isExternal } from './tree.js';
import { type XattrPair, entrySize, xattrAreaSize } from './xattr-table.js';

export const SLOT = 32;
const FIRST_INODE = 1152; // end of the superblock
const COMPACT = 32;
const EXTENDED = 64;

const MIN_CHUNK_BITS = 12;
const MAX_CHUNK_BITS = 43; // 31 (EROFS_CHUNK_FORMAT_BLKBITS_MASK) + 12
const MAX_CHUNKS = 1024;

/** Where everything of an image goes; offsets and sizes in bytes. The inodes carry their own places. */
export interface Layout {
  readonly shared: readonly XattrPair[];
  readonly inodesEnd: number;
  readonly dataStart: number;
  readonly size: number;
  /** Smallest mtime of all inodes. */
  readonly buildTime: bigint;
  readonly buildTimeNsec: number;
}

/** Places every inode, the shared xattrs and the data blocks; the order of `list` is the order in the image. */
export function layOut(list: InodeList): Layout {
  const shared = list.xattrs.share();
  const oldest = findOldest(list.inodes);
  let position = FIRST_INODE;
  let dataBlocks = 0;
  for (const inode of list.inodes) {
    measure(inode, oldest);
    position = place(inode, position);
    inode.firstBlock = dataBlocks;
    dataBlocks += inode.blocks;
  }
  const inodesEnd = roundUp(position, SLOT);
  const dataStart = roundUp(inodesEnd + shared.reduce((sum, pair) => sum + entrySize(pair), 0), BLOCK);
  const size = dataStart + dataBlocks * BLOCK;
  if (size / BLOCK > 0xffffffff || inodesEnd / SLOT > 0xffffffff)
    throw new FormatError('image-size', 'the image would be too large');
  for (const inode of list.inodes) inode.firstBlock = inode.blocks > 0 ? dataStart / BLOCK + inode.firstBlock : 0;
  return { shared, inodesEnd, dataStart, size, buildTime: oldest.node.mtime, buildTimeNsec: oldest.node.mtimeNsec };
}

export function inodeSize(inode: { readonly extended: boolean }): number {
  return inode.extended ? EXTENDED : COMPACT;
}

/** log2 of the chunk size of an external file: as few chunks as there can be. `size` is 1 to 2^53, which a number holds exactly. */
export function chunkBitsOf(size: bigint): number {
  const last = Number(size) - 1;
  const high = Math.floor(last / 2 ** 32);
  const bits = high > 0 ? 64 - Math.clz32(high) : 32 - Math.clz32(last);
  return Math.min(Math.max(bits, MIN_CHUNK_BITS), MAX_CHUNK_BITS);
}

/** Number of chunks, 1 to 1024. */
export function chunkCountOf(size: bigint, chunkBits: number): number {
  const count = Math.ceil(Number(size) / 2 ** chunkBits);
  if (count > MAX_CHUNKS) throw new FormatError('external-size', 'a file has at most 2^53 bytes');
  return count;
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

function findOldest(inodes: readonly Inode[]): Inode {
  let oldest = inodes[0] as Inode;
  for (const inode of inodes) {
    const { mtime, mtimeNsec } = inode.node;
    if (mtime < oldest.node.mtime || (mtime === oldest.node.mtime && mtimeNsec < oldest.node.mtimeNsec)) oldest = inode;
  }
  return oldest;
}

function measure(inode: Inode, oldest: Inode): void {
  const { node } = inode;
  const type = inode.mode >> 12;
  inode.xattrSize = xattrAreaSize(inode.xattrs);
  let size = inode.size;
  if (type === DIR) {
    Object.assign(inode, directoryExtent(inode.names));
    size = BigInt(inode.blocks * BLOCK + inode.tail);
  } else if (type === LNK) inode.tail = Number(size);
  else if (type === REG && node.content !== undefined) Object.assign(inode, contentExtent(node.content.length));
  else if (type === REG && isExternal(node)) {
    inode.chunkBits = chunkBitsOf(size);
    inode.tail = 4 * chunkCountOf(size, inode.chunkBits);
  }
  inode.extended =
    node.mtime !== oldest.node.mtime ||
    node.mtimeNsec !== oldest.node.mtimeNsec ||
    inode.nlink > 0xffff ||
    node.uid > 0xffff ||
    node.gid > 0xffff ||
    size > 0xffffffffn;
}

/** Gives an inode its place at or after `position` and returns the end of what lies there. A tail never crosses a block. */
function place(inode: Inode, position: number): number {
  const head = inodeSize(inode) + inode.xattrSize;
  let start = roundUp(position, SLOT);
  if (inode.mode >> 12 === LNK) {
    const total = head + inode.tail;
    if (total >= BLOCK) moveTail(inode);
    if (Math.floor(start / BLOCK) !== Math.floor((start + total - 1) / BLOCK)) start = roundUp(start, BLOCK);
  } else {
    const room = BLOCK - ((start + head) % BLOCK);
    if (room < inode.tail) {
      const padding = roundUp(room, SLOT);
      if (inode.tail <= BLOCK - ((start + head + padding) % BLOCK)) start += padding;
      else {
        moveTail(inode);
        start = roundUp(start, BLOCK);
      }
    }
  }
  inode.offset = start;
  return start + head + inode.tail;
}

function moveTail(inode: Inode): void {
  inode.blocks += 1;
  inode.tail = 0;
}
