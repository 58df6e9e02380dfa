import { FormatError } from './format-error.js';
import type { ImageHeader } from './image-header.js';

// Layout and values: composefs image format, versions 0 and 1 (libcomposefs lcfs-erofs.h, erofs_fs.h).
const BLOCK = 4096;
const MIN_FILE_SIZE = 16384; // the 256 stubs of a root directory alone need this much
const SB = 1024; // EROFS_SUPER_OFFSET
const SB_END = SB + 128;
const SLOT = 32;

const FLAG_HAS_ACL = 1;

/** u32 fields with one possible value. */
const FIXED_WORDS: readonly (readonly [offset: number, value: number, rule: string])[] = [
  [4, 1, 'composefs-header-version'],
  [SB + 0, 0xe0f5e1e2, 'superblock-magic'],
  [SB + 4, 0, 'superblock-checksum'],
  [SB + 8, 6, 'feature-compat'], // MTIME | XATTR_FILTER
  [SB + 40, 0, 'meta-blkaddr'],
  [SB + 80, 0, 'feature-incompat'],
];

/** Byte ranges, end excluded, that hold zeros. */
const ZERO_RANGES: readonly (readonly [from: number, to: number, rule: string])[] = [
  [16, 1024, 'header-padding'],
  [SB + 13, SB + 14, 'extslots'],
  [SB + 48, SB + 80, 'uuid-and-name'],
  [SB + 84, SB + 128, 'superblock-reserved'],
];

/** Reads a composefs header and its superblock; every byte that the format fixes is checked. The magic at offset 0 was seen by the caller. */
export function parseComposefsHeader(view: DataView, fileSize: number): ImageHeader {
  if (fileSize < MIN_FILE_SIZE)
    throw new FormatError('file-size', `a composefs image has at least ${MIN_FILE_SIZE} bytes, this file has ${fileSize}`);
  if (fileSize % BLOCK !== 0) throw new FormatError('file-size', `the file size ${fileSize} is not a multiple of ${BLOCK}`);
  requireFixedFields(view);
  const flags = view.getUint32(8, true);
  if ((flags & ~FLAG_HAS_ACL) !== 0) throw new FormatError('composefs-flags', 'the composefs header has unknown flags');
  const version = view.getUint32(12, true);
  if (version !== 0 && version !== 1)
    throw new FormatError('composefs-version', `composefs format version ${version} is not supported, only 0 and 1`);
  requireSaneLayout(view, fileSize);
  return { type: 'composefs', hasAcl: (flags & FLAG_HAS_ACL) !== 0, composefsVersion: version, blockSize: BLOCK };
}

function requireFixedFields(view: DataView): void {
  for (const [offset, value, rule] of FIXED_WORDS) {
    if (view.getUint32(offset, true) !== value)
      throw new FormatError(rule, `the value at offset ${offset} is not the one the composefs format fixes`);
  }
  if (view.getUint8(SB + 12) !== 12) throw new FormatError('block-size', 'a composefs image has blocks of 4096 bytes');
  for (const [from, to, rule] of ZERO_RANGES) {
    for (let at = from; at < to; at += 1) {
      if (view.getUint8(at) !== 0) throw new FormatError(rule, `the byte at offset ${at} must be zero in a composefs image`);
    }
  }
}

/** The free fields: each must at least point into the file. */
function requireSaneLayout(view: DataView, fileSize: number): void {
  const blocks = view.getUint32(SB + 36, true);
  if (blocks * BLOCK !== fileSize)
    throw new FormatError('blocks', `the superblock counts ${blocks} blocks, the file has ${fileSize / BLOCK}`);
  const xattrBlock = view.getUint32(SB + 44, true);
  if (xattrBlock >= blocks) throw new FormatError('xattr-blkaddr', 'the shared xattr table is outside the image');
  const root = view.getUint16(SB + 14, true) * SLOT;
  // Inodes lie between the superblock and the shared xattr table, which starts inside block xattr_blkaddr.
  if (root < SB_END || root + SLOT > Math.min(fileSize, (xattrBlock + 1) * BLOCK))
    throw new FormatError('root-nid', 'the root inode is outside the inode area');
  const inodes = view.getBigUint64(SB + 16, true);
  if (inodes < 1n || inodes > BigInt((fileSize - SB_END) / SLOT))
    throw new FormatError('inode-count', 'the image is too small for the number of inodes it claims');
}
