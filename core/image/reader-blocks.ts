import { type ByteString, toByteString } from './bytes.js';
import { BLOCK } from './directory-blocks.js';
import { FormatError } from './format-error.js';
import { CHUNKS, type ImageView, type RawInode, isNullTable } from './reader-inode.js';

/** Checks that data blocks are handed out in the order of the inodes, without gap or reuse, to the end of the image. */
export interface BlockCount {
  /** Takes an inode's blocks. */
  take(inode: RawInode): void;
  /** After the last inode: returns the offset of the first data block. */
  finish(): number;
}

export function createBlockCount(image: ImageView): BlockCount {
  const total = image.bytes.length / BLOCK;
  /** Number of the first data block, once an inode names its own. */
  let base: number | undefined;
  let taken = 0;
  const moved: { inode: RawInode; index: number }[] = [];
  return {
    take(inode) {
      if (inode.layout === CHUNKS) {
        if (inode.blocks > 0) moved.push({ inode, index: taken });
        else if (inode.locator > 0xffff) throw new FormatError('chunk-format', 'a chunk format has unknown bits');
      } else if (inode.blocks > 0) {
        base ??= inode.locator - taken;
        if (inode.locator !== base + taken || inode.locator + inode.blocks > total)
          throw new FormatError('data-blocks', 'data blocks are not handed out in the order of the inodes');
      }
      taken += inode.blocks;
    },
    finish() {
      const first = total - taken;
      if (first < 1 || (base ?? first) !== first)
        throw new FormatError('data-blocks', 'the data blocks do not end with the image');
      for (const { inode, index } of moved) requireMovedTable(image, inode, first + index);
      return first * BLOCK;
    },
  };
}

/** The low half of a chunk table's block number is lost in the format, the rest and the table itself can be checked. */
function requireMovedTable(image: ImageView, inode: RawInode, block: number): void {
  if (inode.locator >>> 16 !== block >>> 16 || !isNullTable(image.bytes, block * BLOCK, BLOCK))
    throw new FormatError('chunk-table', 'a chunk table is neither behind its inode nor in its block');
}

/** The bytes of a file or link that are in the image. */
export function readData(image: ImageView, inode: RawInode): ByteString {
  const size = Number(inode.size);
  const inBlocks = size - inode.tailSize;
  const start = inode.locator * BLOCK;
  if (inode.blocks > 0 && start + inBlocks > image.bytes.length)
    throw new FormatError('data-blocks', 'the data of an inode are outside the image');
  const whole = inode.blocks > 0 ? toByteString(image.bytes, start, start + inBlocks) : '';
  return (whole + toByteString(image.bytes, inode.tailStart, inode.tailStart + inode.tailSize)) as ByteString;
}
