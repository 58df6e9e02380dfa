import { crc32c } from './crc32c.js';
import { FormatError } from './format-error.js';
import type { ImageHeader } from './image-header.js';

// Offsets and bits: linux/fs/erofs/erofs_fs.h (6.18); rules: erofs_read_superblock() in linux/fs/erofs/super.c, and stricter where said.
const SB = 1024; // EROFS_SUPER_OFFSET
const SB_SIZE = 128;
const EXTSLOT_SIZE = 16;
const MAX_SB_SIZE = 4096 - SB; // the kernel refuses a superblock that leaves its first page
const SLOT = 32n;
const MAGIC = 0xe0f5e1e2;

const COMPAT_SB_CHKSUM = 0x1;

const INCOMPAT_COMPR_CFGS = 0x2; // also BIG_PCLUSTER
const INCOMPAT_FRAGMENTS = 0x20; // also DEDUPE
const INCOMPAT_48BIT = 0x80;
const INCOMPAT_METABOX = 0x100;
/**
 * What Linux 6.18 knows: the above, ZERO_PADDING 0x1, CHUNKED_FILE 0x4, COMPR_HEAD2 0x8, ZTAILPACKING 0x10, XATTR_PREFIXES 0x40.
 * 0x8 is DEVICE_TABLE too, so other devices are refused by the count of extra devices, not by the bit.
 */
const KNOWN_INCOMPAT = 0x1ff;

const ALL_COMPRESSION = 0xf; // LZ4, LZMA, DEFLATE, ZSTD
const NID_IN_METABOX = 1n << 63n;

/** Reads the superblock of a plain EROFS image, whatever lies in front of it. Throws FormatError on what the kernel would refuse and on everything that reaches outside this one file. */
export function parseErofsSuperblock(view: DataView, fileSize: number): ImageHeader {
  if (view.byteLength < SB + SB_SIZE)
    throw new FormatError('file-size', `an EROFS image has at least ${SB + SB_SIZE} bytes, this file has ${fileSize}`);
  if (view.getUint32(SB, true) !== MAGIC)
    throw new FormatError('superblock-magic', 'this is neither an EROFS nor a composefs image');
  const blockBits = view.getUint8(SB + 12);
  if (blockBits < 9 || blockBits > 12)
    throw new FormatError('block-size', `blocks of 2^${blockBits} bytes are not supported, only 512 to 4096`);
  const blockSize = 2 ** blockBits;
  requireChecksum(view, blockSize);
  requireKnownFeatures(view);
  const superblockSize = requireSuperblockSize(view);
  requireBlocks(view, blockSize, fileSize);
  requireRootInside(view, blockSize, superblockSize, fileSize);
  return { type: 'erofs', hasAcl: true, blockSize };
}

/** The kernel sums from the superblock to the end of its block, or one block's length when the block ends before it, with the checksum field as zero. */
function requireChecksum(view: DataView, blockSize: number): void {
  if ((view.getUint32(SB + 8, true) & COMPAT_SB_CHKSUM) === 0) return;
  const length = blockSize > SB ? blockSize - SB : blockSize;
  if (view.byteLength < SB + length) throw new FormatError('file-size', 'the file ends inside the block of its superblock');
  const summed = new Uint8Array(view.buffer, view.byteOffset + SB, length).slice();
  summed.fill(0, 4, 8);
  if (crc32c(0xffffffff, summed) !== view.getUint32(SB + 4, true))
    throw new FormatError('superblock-checksum', 'the checksum of the superblock does not match');
}

function requireKnownFeatures(view: DataView): void {
  const incompat = view.getUint32(SB + 80, true);
  const unknown = (incompat & ~KNOWN_INCOMPAT) >>> 0;
  if (unknown !== 0)
    throw new FormatError('feature-incompat', `the image needs features that are not known here (0x${unknown.toString(16)})`);
  if (view.getUint16(SB + 86, true) !== 0)
    throw new FormatError('extra-devices', 'the image keeps data on other devices; make one without --blobdev');
  if (view.getUint8(SB + 90) !== 0) throw new FormatError('dirblkbits', 'the image has directory blocks of an unsupported size');
  if ((incompat & INCOMPAT_COMPR_CFGS) !== 0 && (view.getUint16(SB + 84, true) & ~ALL_COMPRESSION) !== 0) {
    throw new FormatError('compression', 'the image uses an unknown compression algorithm');
  }
}

function requireSuperblockSize(view: DataView): number {
  const size = SB_SIZE + view.getUint8(SB + 13) * EXTSLOT_SIZE;
  if (size > MAX_SB_SIZE || SB + size > view.byteLength)
    throw new FormatError('extslots', 'the superblock is longer than the block that holds it');
  return size;
}

function has48Bit(view: DataView): boolean {
  return (view.getUint32(SB + 80, true) & INCOMPAT_48BIT) !== 0 && view.getBigUint64(SB + 112, true) !== 0n;
}

/** The kernel trusts the count; here it must fit the file, so that no block lies behind its end. */
function requireBlocks(view: DataView, blockSize: number, fileSize: number): void {
  const high = has48Bit(view) ? view.getUint16(SB + 14, true) : 0; // rb.blocks_hi
  const blocks = high * 2 ** 32 + view.getUint32(SB + 36, true);
  if (blocks === 0) throw new FormatError('blocks', 'the superblock counts no blocks');
  if (blocks * blockSize > fileSize)
    throw new FormatError('blocks', `the superblock counts ${blocks} blocks, more than the file holds; it may be cut short`);
}

function requireRootInside(view: DataView, blockSize: number, superblockSize: number, fileSize: number): void {
  const incompat = view.getUint32(SB + 80, true);
  const requireInode = (nid: bigint, rule: string, what: string): void => {
    const at = BigInt(view.getUint32(SB + 40, true)) * BigInt(blockSize) + nid * SLOT; // meta_blkaddr
    if (at < BigInt(SB + superblockSize) || at + SLOT > BigInt(fileSize))
      throw new FormatError(rule, `the ${what} inode is outside the image`);
  };
  const root = has48Bit(view) ? view.getBigUint64(SB + 112, true) : BigInt(view.getUint16(SB + 14, true));
  const packed = view.getBigUint64(SB + 96, true);
  const inMetabox = (nid: bigint): boolean => (incompat & INCOMPAT_METABOX) !== 0 && (nid & NID_IN_METABOX) !== 0n;
  if (!inMetabox(root)) requireInode(root, 'root-nid', 'root');
  if ((incompat & INCOMPAT_FRAGMENTS) !== 0 && packed !== 0n && !inMetabox(packed)) requireInode(packed, 'packed-nid', 'packed');
  if ((incompat & INCOMPAT_METABOX) === 0) return;
  if (superblockSize <= SB_SIZE) throw new FormatError('metabox-nid', 'the superblock is too short to name the metadata inode');
  requireInode(view.getBigUint64(SB + 128, true), 'metabox-nid', 'metadata');
}
