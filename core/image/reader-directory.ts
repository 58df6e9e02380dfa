import { type ByteString, toByteString } from './bytes.js';
import { BLOCK, DIRENT } from './directory-blocks.js';
import { FormatError } from './format-error.js';
import { type ImageView, type RawInode, requireNid } from './reader-inode.js';
import { MAX_NAME } from './tree.js';

const SLASH = 0x2f;

export interface DirectoryEntry {
  readonly name: ByteString;
  readonly nid: number;
  /** EROFS_FT_*. */
  readonly type: number;
}

/** The entries of a directory in their order; names are strictly ascending, `.` and `..` are among them. Inode numbers are inside the image. */
export function* readDirectory(image: ImageView, inode: RawInode): Generator<DirectoryEntry, void, void> {
  let last = '';
  for (const [from, to] of directoryBlocks(image, inode)) {
    for (const entry of readBlock(image, from, to)) {
      if (entry.name <= last) throw new FormatError('directory-order', 'the names of a directory are not in ascending order');
      last = entry.name;
      yield entry;
    }
  }
}

function* directoryBlocks(image: ImageView, inode: RawInode): Generator<readonly [from: number, to: number], void, void> {
  const start = inode.locator * BLOCK;
  const inBlocks = Number(inode.size) - inode.tailSize;
  if (inBlocks > 0 && start + inBlocks > image.bytes.length)
    throw new FormatError('data-blocks', 'the data of an inode are outside the image');
  for (let at = 0; at < inBlocks; at += BLOCK) yield [start + at, start + Math.min(at + BLOCK, inBlocks)];
  if (inode.tailSize > 0) yield [inode.tailStart, inode.tailStart + inode.tailSize];
}

function* readBlock(image: ImageView, from: number, to: number): Generator<DirectoryEntry, void, void> {
  const { bytes, view } = image;
  const first = from + DIRENT <= to ? view.getUint16(from + 8, true) : 0;
  if (first < DIRENT || first % DIRENT !== 0 || from + first >= to)
    throw new FormatError('directory-block', 'the first name of a directory block is not behind its entries');
  for (let at = from; at < from + first; at += DIRENT) {
    const isLast = at + DIRENT === from + first;
    const start = from + view.getUint16(at + 8, true);
    const end = isLast ? endOfLastName(bytes, start, to) : from + view.getUint16(at + DIRENT + 8, true);
    if (end <= start || end > to || end - start > MAX_NAME)
      throw new FormatError('directory-name', `a name has not 1 to ${MAX_NAME} bytes inside its block`);
    if (bytes[at + 11] !== 0) throw new FormatError('directory-reserved', 'a reserved byte of a directory entry is not zero');
    requireNameBytes(bytes, start, end);
    const nid = requireNid(image, view.getUint32(at, true), view.getUint32(at + 4, true));
    yield { name: toByteString(bytes, start, end), nid, type: bytes[at + 10] ?? 0 };
  }
}

/** The last name ends at the end of the block or at a zero, behind which there are only zeros. */
function endOfLastName(bytes: Uint8Array, start: number, to: number): number {
  let end = start;
  while (end < to && bytes[end] !== 0) end += 1;
  for (let at = end; at < to; at += 1)
    if (bytes[at] !== 0)
      throw new FormatError('directory-padding', 'bytes behind the last name of a directory block are not zero');
  return end;
}

function requireNameBytes(bytes: Uint8Array, start: number, end: number): void {
  for (let at = start; at < end; at += 1)
    if (bytes[at] === 0 || bytes[at] === SLASH) throw new FormatError('name-characters', 'a file name holds a slash or a NUL');
}
