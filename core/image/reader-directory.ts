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
  for (const { name, nidLow, nidHigh, type } of readDirectoryBlock(image.bytes, image.view, from, to))
    yield { name, nid: requireNid(image, nidLow, nidHigh), type };
}

/** An entry of a directory block; its inode number is checked for nothing yet. */
export interface RawEntry {
  readonly name: ByteString;
  /** Halves of the u64. */
  readonly nidLow: number;
  readonly nidHigh: number;
  /** EROFS_FT_*. */
  readonly type: number;
}

/** The entries of one directory block, bytes [from, to) of `bytes`, which `view` shows too. Names are well formed and lie behind the entries without gap. */
export function* readDirectoryBlock(
  bytes: Uint8Array,
  view: DataView,
  from: number,
  to: number,
): Generator<RawEntry, void, void> {
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
    yield {
      name: toByteString(bytes, start, end),
      nidLow: view.getUint32(at, true),
      nidHigh: view.getUint32(at + 4, true),
      type: bytes[at + 10] ?? 0,
    };
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
