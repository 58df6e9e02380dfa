import { type ByteString, toByteString } from './bytes.js';
import { parseErofsSuperblock } from './erofs-superblock.js';
import { FormatError } from './format-error.js';
import { type ImageBytes, type ImageSource, openImageBytes } from './image-bytes.js';

// Offsets and bits: linux/fs/erofs/erofs_fs.h (6.18).
const SB = 1024; // EROFS_SUPER_OFFSET
const WINDOW = 4096;

/** SB_CHKSUM, MTIME, XATTR_FILTER, PLAIN_XATTR_PFX and ISHARE_XATTRS; not SHARED_EA_IN_METABOX 0x8. */
const JUDGED_COMPAT = 0x37;
const INCOMPAT_48BIT = 0x80;
const INCOMPAT_METABOX = 0x100;

/** Larger images are not read: their bookkeeping here could take up to this much divided by 256. */
const MAX_SIZE = 16 * 2 ** 30;

/** `base` is an index of EROFS_XATTR_INDEX_*, `infix` what follows its prefix. */
export interface LongPrefix {
  readonly base: number;
  readonly infix: ByteString;
}

/** A plain EROFS image whose superblock is understood. Offsets are bytes. */
export interface ErofsVolume {
  readonly bytes: ImageBytes;
  readonly blockSize: number;
  /** End of the last block that the superblock counts. */
  readonly end: number;
  /** Place of inode number 0. */
  readonly metaStart: number;
  /** Place that ids of shared xattrs count from. */
  readonly xattrStart: number;
  readonly rootNid: number;
  /** The inode that holds the ends of compressed files, if there is one. */
  readonly packedNid: number | undefined;
  /** Prefixes that xattr names may refer to; 'hidden' if they are in the packed inode, where some kernels look for them and others do not. */
  readonly longPrefixes: readonly LongPrefix[] | 'hidden';
  /** Counts bytes that are read because an inode says so. Those of an honest image are apart from each other, so that all together fit in it. */
  claim(bytes: number): void;
}

/** Reads the superblock of a plain EROFS image. Throws FormatError on everything the kernel refuses, and on features whose files cannot be judged here. */
export function openErofsVolume(source: ImageSource): ErofsVolume {
  if (source.size > MAX_SIZE)
    throw new FormatError(
      'image-size',
      `the image has ${source.size} bytes; plain EROFS images of more than ${MAX_SIZE} are not read`,
    );
  const bytes = openImageBytes(source);
  const window = bytes.slice(0, Math.min(source.size, WINDOW));
  const view = new DataView(window.buffer, window.byteOffset, window.byteLength);
  const { blockSize } = parseErofsSuperblock(view, source.size);
  requireJudgedFeatures(view);
  const end = view.getUint32(SB + 36, true) * blockSize;
  let claimed = 0;
  const claim = (count: number): void => {
    claimed += count;
    if (claimed > end) throw new FormatError('overlap', 'parts of the image overlap');
  };
  const packed = requireNidHalves(view.getUint32(SB + 96, true), view.getUint32(SB + 100, true));
  return {
    bytes,
    blockSize,
    end,
    metaStart: view.getUint32(SB + 40, true) * blockSize,
    xattrStart: view.getUint32(SB + 44, true) * blockSize,
    rootNid: view.getUint16(SB + 14, true),
    packedNid: packed === 0 ? undefined : packed,
    longPrefixes: packed === 0 ? readLongPrefixes(bytes, view, end, claim) : 'hidden',
    claim,
  };
}

function requireJudgedFeatures(view: DataView): void {
  const incompat = view.getUint32(SB + 80, true);
  if ((incompat & INCOMPAT_METABOX) !== 0)
    throw new FormatError('feature-metabox', 'the image compresses its metadata, which cannot be judged; make it without -m');
  if ((incompat & INCOMPAT_48BIT) !== 0)
    throw new FormatError('feature-48bit', 'the image has the 48-bit layout, which cannot be judged; make it without -E48bit');
  const unknown = (view.getUint32(SB + 8, true) & ~JUDGED_COMPAT) >>> 0;
  if (unknown !== 0)
    throw new FormatError('feature-compat', `the image has features that are not known here (0x${unknown.toString(16)})`);
}

/** An inode number as 32 bits, which reach further than any image that is read. */
export function requireNidHalves(low: number, high: number): number {
  if (high !== 0) throw new FormatError('nid', 'an inode number points outside the image');
  return low;
}

/** Each entry: a length (u16), then that many bytes: the index, and the infix. Entries start at multiples of 4. */
function readLongPrefixes(bytes: ImageBytes, view: DataView, end: number, claim: (count: number) => void): LongPrefix[] {
  const prefixes: LongPrefix[] = [];
  let at = view.getUint32(SB + 92, true) * 4;
  for (let left = view.getUint8(SB + 91); left > 0; left -= 1) {
    const length = bytes.u16(at);
    if (length < 1 || length > 256 || at + 2 + length > end)
      throw new FormatError('xattr-prefixes', 'the table of xattr name prefixes is damaged');
    claim(2 + length);
    const infix = toByteString(bytes.slice(at + 3, at + 2 + length));
    prefixes.push({ base: bytes.u8(at + 2), infix });
    at = Math.ceil((at + 2 + length) / 4) * 4;
  }
  return prefixes;
}
