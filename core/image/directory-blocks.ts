import type { ByteString } from './bytes.js';

export const BLOCK = 4096;
export const DIRENT = 12; // sizeof(struct erofs_dirent)

/** A tail longer than this becomes a block of its own. */
const MAX_TAIL = 2048;

/** Whole blocks of an inode's data, and the bytes that follow the inode directly. */
export interface Extent {
  readonly blocks: number;
  readonly tail: number;
}

/** Index behind the last name that fits into a directory block starting with names[start]. */
export function endOfDirectoryBlock(names: readonly ByteString[], start: number): number {
  let end = start;
  let size = 0;
  while (end < names.length) {
    size += DIRENT + (names[end]?.length ?? 0);
    if (size > BLOCK) break;
    end += 1;
  }
  return end;
}

/** Extent of a directory; `names` in their order, with `.` and `..`. */
export function directoryExtent(names: readonly ByteString[]): Extent {
  let blocks = 0;
  let fill = 0;
  for (const name of names) {
    const size = DIRENT + name.length;
    if (fill + size > BLOCK) {
      blocks += 1;
      fill = 0;
    }
    fill += size;
  }
  return fill > MAX_TAIL ? { blocks: blocks + 1, tail: 0 } : { blocks, tail: fill };
}

/** Extent of a file whose bytes are in the image. */
export function contentExtent(size: number): Extent {
  const blocks = Math.floor(size / BLOCK);
  const tail = size % BLOCK;
  return tail > MAX_TAIL ? { blocks: blocks + 1, tail: 0 } : { blocks, tail };
}
