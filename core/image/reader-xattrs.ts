import { type ByteString, toByteString } from './bytes.js';
import { BLOCK } from './directory-blocks.js';
import { FormatError } from './format-error.js';
import type { ImageView, RawInode } from './reader-inode.js';
import { NO_XATTRS } from './tree.js';
import { XATTR_HEADER, XATTR_PREFIXES } from './xattr-table.js';

const PREFIX: ReadonlyMap<number, string> = new Map([[0, ''], ...XATTR_PREFIXES]);

interface Xattr {
  readonly key: ByteString;
  readonly value: ByteString;
  /** Offset behind the entry and its padding. */
  readonly end: number;
}

/** Reads xattrs; entries of the shared table are read once, however many inodes name them. */
export interface XattrReader {
  read(inode: RawInode): ReadonlyMap<ByteString, ByteString>;
  /** After the last inode: shared entries must not overlap and lie between the inodes and the data. */
  finish(inodesEnd: number, dataStart: number): void;
}

export function createXattrReader(image: ImageView, tableBlock: number): XattrReader {
  const shared = new Map<number, Xattr>();
  let sharedBytes = 0;
  const readShared = (id: number): Xattr => {
    const offset = tableBlock * BLOCK + 4 * id;
    const known = shared.get(offset);
    if (known !== undefined) return known;
    const xattr = readEntry(image, offset, image.bytes.length);
    // Overlapping entries could each have a value of 64 KiB every four bytes; honest ones together are smaller than the image.
    sharedBytes += xattr.end - offset;
    if (sharedBytes > image.bytes.length) throw new FormatError('xattr-shared', 'shared xattrs overlap');
    shared.set(offset, xattr);
    return xattr;
  };
  return {
    read: (inode) => (inode.xattrStart === inode.tailStart ? NO_XATTRS : readArea(image, inode, readShared)),
    finish(inodesEnd, dataStart) {
      let last = inodesEnd;
      for (const offset of [...shared.keys()].sort((a, b) => a - b)) {
        if (offset < last) throw new FormatError('xattr-shared', 'shared xattrs overlap each other or the inodes');
        last = shared.get(offset)?.end ?? offset;
      }
      if (last > dataStart) throw new FormatError('xattr-shared', 'the shared xattrs reach into the data');
    },
  };
}

function readArea(image: ImageView, inode: RawInode, readShared: (id: number) => Xattr): ReadonlyMap<ByteString, ByteString> {
  const { bytes, view } = image;
  const { xattrStart: start, tailStart: end } = inode;
  if (end > image.inodesLimit) throw new FormatError('inode-bounds', 'the xattrs of an inode are outside the inode area');
  for (let at = start + 5; at < start + XATTR_HEADER; at += 1)
    if (bytes[at] !== 0) throw new FormatError('xattr-reserved', 'reserved bytes of an xattr area are not zero');
  let at = start + XATTR_HEADER + 4 * (bytes[start + 4] ?? 0);
  if (at > end) throw new FormatError('xattr-bounds', 'the shared xattrs of an inode leave its xattr area');
  const xattrs = new Map<ByteString, ByteString>();
  for (let id = start + XATTR_HEADER; id < at; id += 4) addOnce(xattrs, readShared(view.getUint32(id, true)));
  while (at < end) {
    const xattr = readEntry(image, at, end);
    addOnce(xattrs, xattr);
    at = xattr.end;
  }
  return xattrs;
}

function addOnce(xattrs: Map<ByteString, ByteString>, { key, value }: Xattr): void {
  if (xattrs.has(key)) throw new FormatError('xattr-twice', 'an inode has two xattrs of one key');
  xattrs.set(key, value);
}

/** Reads the entry at `offset`, which must end at or before `limit`. */
function readEntry(image: ImageView, offset: number, limit: number): Xattr {
  const { bytes, view } = image;
  if (offset + 4 > limit) throw new FormatError('xattr-bounds', 'an xattr is outside its area');
  const prefix = PREFIX.get(bytes[offset + 1] ?? 0);
  if (prefix === undefined) throw new FormatError('xattr-prefix', 'an xattr has an unknown prefix');
  const valueStart = offset + 4 + (bytes[offset] ?? 0);
  const valueEnd = valueStart + view.getUint16(offset + 2, true);
  const end = Math.ceil(valueEnd / 4) * 4; // not with bit operators: offsets can be above 2^31
  if (end > limit) throw new FormatError('xattr-bounds', 'an xattr is outside its area');
  for (let at = valueEnd; at < end; at += 1)
    if (bytes[at] !== 0) throw new FormatError('xattr-padding', 'the padding of an xattr is not zero');
  const key = (prefix + toByteString(bytes, offset + 4, valueStart)) as ByteString;
  if (key === '' || key.includes('\0')) throw new FormatError('xattr-key', 'an xattr key is empty or holds a NUL');
  return { key, value: toByteString(bytes, valueStart, valueEnd), end };
}
