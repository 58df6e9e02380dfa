import { type ErofsVolume } from './erofs-volume.js';
import { FormatError } from './format-error.js';
import { DIR, LNK, MAX_TARGET, REG, TYPES } from './tree.js';

// Layouts of data, bits 1-3 of i_format (linux/fs/erofs/erofs_fs.h EROFS_INODE_*).
const PLAIN = 0;
const COMPRESSED_FULL = 1;
const INLINE = 2;
const COMPRESSED_COMPACT = 3;
const CHUNKS = 4;

const SLOT = 32;
const FIRST_INODE = 1152; // end of the superblock
const XATTR_HEADER = 12; // sizeof(struct erofs_xattr_ibody_header)
const NO_BLOCK = 0xffffffff; // EROFS_NULL_ADDR
const CHUNK_BITS = 0x1f; // EROFS_CHUNK_FORMAT_BLKBITS_MASK
const CHUNK_INDEXES = 0x20; // EROFS_CHUNK_FORMAT_INDEXES
const MAP_HEADER = 8; // sizeof(struct z_erofs_map_header)

/** An inode whose fields are consistent and inside the image. Offsets and sizes are bytes. */
export interface ErofsInode {
  readonly nid: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly layout: number;
  /** i_u: first block, device number or chunk format. */
  readonly locator: number;
  readonly xattrStart: number;
  /** End of the xattrs, and start of what follows them. */
  readonly xattrEnd: number;
}

/** Place of an inode, whose first half is checked to lie inside the image. */
function requireInodeAt(volume: ErofsVolume, nid: number): number {
  const offset = volume.metaStart + nid * SLOT;
  if (offset < FIRST_INODE || offset + SLOT > volume.end)
    throw new FormatError('nid', 'an inode number points outside the image');
  return offset;
}

export function peekMode(volume: ErofsVolume, nid: number): number {
  return volume.bytes.u16(requireInodeAt(volume, nid) + 4);
}

/** Reads an inode and checks where its data are. To be called once for each. */
export function readErofsInode(volume: ErofsVolume, nid: number): ErofsInode {
  const { bytes } = volume;
  const offset = requireInodeAt(volume, nid);
  const format = bytes.u16(offset);
  const extended = (format & 1) === 1;
  // Bit 4 belongs to the 48-bit layout, which is refused as a whole.
  if (format >> 1 > CHUNKS) throw new FormatError('inode-format', 'an inode has an unknown format');
  const headSize = extended ? 64 : 32;
  const icount = bytes.u16(offset + 2);
  const xattrStart = offset + headSize;
  const xattrEnd = xattrStart + (icount === 0 ? 0 : XATTR_HEADER + 4 * (icount - 1));
  if (xattrEnd > volume.end) throw new FormatError('inode-bounds', 'an inode ends outside the image');
  volume.claim(xattrEnd - offset);
  const inode = {
    nid,
    mode: bytes.u16(offset + 4),
    uid: extended ? bytes.u32(offset + 24) : bytes.u16(offset + 24),
    gid: extended ? bytes.u32(offset + 28) : bytes.u16(offset + 26),
    size: bytes.u32(offset + 8) + (extended ? bytes.u32(offset + 12) * 2 ** 32 : 0),
    layout: format >> 1,
    locator: bytes.u32(offset + 16),
    xattrStart,
    xattrEnd,
  };
  requireData(volume, inode);
  // Linux 6.15 and later take these two bytes of an extended inode for the upper half of its block number, whatever the features say.
  if (extended && bytes.u16(offset + 6) !== 0 && !isHole(inode))
    throw new FormatError('inode-reserved', 'reserved bytes of an inode are not zero');
  return inode;
}

/** A file that is nothing but zeros, of which no block is in the image. */
function isHole({ mode, layout, locator }: ErofsInode): boolean {
  return mode >> 12 === REG && layout === PLAIN && locator === NO_BLOCK;
}

function requireData(volume: ErofsVolume, inode: ErofsInode): void {
  const type = inode.mode >> 12;
  if (!TYPES.has(type)) throw new FormatError('mode-type', 'an inode has no file type or an unknown one');
  if (!Number.isSafeInteger(inode.size)) throw new FormatError('inode-size', 'a file is larger than 2^53 bytes');
  if (type === REG) requireFileData(volume, inode);
  else if (type === DIR || type === LNK) requireOwnData(volume, inode, type);
  else if (inode.layout !== PLAIN || inode.size !== 0) throw new FormatError('inode-size', 'a device, FIFO or socket has a size');
}

function requireFileData(volume: ErofsVolume, inode: ErofsInode): void {
  if (inode.layout === PLAIN || inode.layout === INLINE) requireFlatData(volume, inode);
  else if (inode.layout === CHUNKS) requireChunks(volume, inode);
  else if (inode.layout === COMPRESSED_FULL || inode.layout === COMPRESSED_COMPACT) {
    // What the map of a compressed file says is the kernel's to check when the file is read; nothing here follows from it.
    const header = Math.ceil(inode.xattrEnd / 8) * 8;
    if (header + MAP_HEADER > volume.end)
      throw new FormatError('inode-bounds', 'the map of a compressed file is outside the image');
  }
}

/** Directories and links: the kernel would take any layout, and no tool makes others than these. */
function requireOwnData(volume: ErofsVolume, inode: ErofsInode, type: number): void {
  if (inode.layout !== PLAIN && inode.layout !== INLINE)
    throw new FormatError('inode-layout', 'a directory or symbolic link is compressed or in chunks, which cannot be judged');
  if (inode.size === 0 || (type === LNK && inode.size > MAX_TARGET) || inode.size > volume.end)
    throw new FormatError('inode-size', 'a directory or symbolic link is empty or too large');
  requireFlatData(volume, inode);
}

function requireFlatData(volume: ErofsVolume, inode: ErofsInode): void {
  if (inode.size === 0 || isHole(inode)) return;
  const tail = tailOf(volume, inode);
  if (inode.layout === INLINE) {
    // With no tail the kernel would take the last whole block from behind the inode.
    if (tail === 0) throw new FormatError('inode-tail', 'an inode with a tail has no bytes in it');
    if ((inode.xattrEnd % volume.blockSize) + tail > volume.blockSize || inode.xattrEnd + tail > volume.end)
      throw new FormatError('inode-tail', 'the tail of an inode crosses a block or leaves the image');
    volume.claim(tail);
  }
  const blocks = Math.ceil((inode.size - tail) / volume.blockSize);
  if (blocks > 0 && (inode.locator + blocks) * volume.blockSize > volume.end)
    throw new FormatError('data-blocks', 'the data of an inode are outside the image');
}

/** Bytes behind the inode itself. */
function tailOf({ blockSize }: ErofsVolume, { layout, size }: ErofsInode): number {
  return layout === INLINE ? size % blockSize : 0;
}

/** A table of block numbers behind the inode, one for each chunk. */
function requireChunks(volume: ErofsVolume, inode: ErofsInode): void {
  const { bytes, blockSize, end } = volume;
  if ((inode.locator & ~(CHUNK_BITS | CHUNK_INDEXES)) !== 0)
    throw new FormatError('chunk-format', 'a chunk format has unknown bits');
  const chunkSize = blockSize * 2 ** (inode.locator & CHUNK_BITS);
  const unit = (inode.locator & CHUNK_INDEXES) === 0 ? 4 : 8;
  const start = Math.ceil(inode.xattrEnd / unit) * unit;
  const count = Math.ceil(inode.size / chunkSize);
  if (start + unit * count > end) throw new FormatError('chunk-table', 'a table of chunks leaves the image');
  volume.claim(unit * count);
  for (let index = 0; index < count; index += 1) {
    const entry = start + unit * index;
    const block = bytes.u32(unit === 8 ? entry + 4 : entry);
    if (block === NO_BLOCK) continue;
    if (unit === 8 && bytes.u32(entry) !== 0) throw new FormatError('chunk-table', 'a chunk is on another device');
    const blocks = Math.ceil(Math.min(chunkSize, inode.size - index * chunkSize) / blockSize);
    if ((block + blocks) * blockSize > end) throw new FormatError('chunk-table', 'a chunk is outside the image');
  }
}

/** Where the bytes of a directory are: block by block, each as [from, to). To be called once for each directory. */
export function* directoryPieces(
  volume: ErofsVolume,
  inode: ErofsInode,
): Generator<readonly [from: number, to: number], void, void> {
  const tail = tailOf(volume, inode);
  const inBlocks = inode.size - tail;
  const start = inode.locator * volume.blockSize;
  volume.claim(inBlocks);
  for (let at = 0; at < inBlocks; at += volume.blockSize) yield [start + at, start + Math.min(at + volume.blockSize, inBlocks)];
  if (tail > 0) yield [inode.xattrEnd, inode.xattrEnd + tail];
}
