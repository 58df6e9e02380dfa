import { type ByteString, byteString, putByteString } from './bytes.js';
import { FormatError } from './format-error.js';
import { xxh32 } from './xxh32.js';

/** Prefixes that an image stores as a number (linux/fs/erofs/erofs_fs.h EROFS_XATTR_INDEX_*). The first match counts. */
export const XATTR_PREFIXES: readonly (readonly [index: number, prefix: ByteString])[] = [
  [1, byteString('user.')],
  [2, byteString('system.posix_acl_access')],
  [3, byteString('system.posix_acl_default')],
  [4, byteString('trusted.')],
  [6, byteString('security.')],
];

const FILTER_SEED = 0x25bbe08f; // EROFS_XATTR_FILTER_SEED
export const XATTR_HEADER = 12; // sizeof(struct erofs_xattr_ibody_header)
const MAX_SHARED = 128; // of one inode, lcfs-writer-erofs.c
const MAX_ICOUNT = 0xffff;

interface Key {
  readonly key: ByteString;
  readonly index: number;
  readonly suffix: ByteString;
  /** The bit of the name filter that says such a key may be there. */
  readonly filterBit: number;
  readonly pairs: Map<ByteString, XattrPair>;
}

/** A key and a value, once for all inodes that have both. */
export interface XattrPair {
  readonly key: Key;
  readonly value: ByteString;
  /** Inodes that have it; from two on it is stored in the shared table. */
  uses: number;
  /** In the shared table, bytes from its start. */
  offset: number;
}

/** Every xattr of an image. */
export interface XattrTable {
  /** Counts one more inode that has this xattr. */
  add(key: ByteString, value: ByteString): XattrPair;
  /** Some inode has an xattr of this key. */
  has(key: ByteString): boolean;
  /** Ends the counting: places the shared ones and returns them in their order. */
  share(): readonly XattrPair[];
}

export function createXattrTable(): XattrTable {
  const keys = new Map<ByteString, Key>();
  return {
    add(text, value) {
      let key = keys.get(text);
      if (key === undefined) keys.set(text, (key = newKey(text)));
      let pair = key.pairs.get(value);
      if (pair === undefined) key.pairs.set(value, (pair = { key, value, uses: 0, offset: 0 }));
      pair.uses += 1;
      return pair;
    },
    has: (text) => keys.has(text),
    share() {
      const shared: XattrPair[] = [];
      for (const { pairs } of keys.values()) for (const pair of pairs.values()) if (pair.uses > 1) shared.push(pair);
      shared.sort(compareShared);
      let offset = 0;
      for (const pair of shared) {
        pair.offset = offset;
        offset += entrySize(pair);
      }
      return shared;
    },
  };
}

function newKey(key: ByteString): Key {
  const [index, prefix] = XATTR_PREFIXES.find(([, text]) => key.startsWith(text)) ?? [0, ''];
  const suffix = key.slice(prefix.length) as ByteString;
  if (key === '' || suffix.length > 255 || key.includes('\0'))
    throw new FormatError('xattr-key-length', 'an xattr key is empty, too long or holds a NUL');
  return { key, index, suffix, filterBit: xxh32(suffix, (FILTER_SEED + index) >>> 0) & 31, pairs: new Map() };
}

/** Descending by key, then length of the value, then value. */
function compareShared(a: XattrPair, b: XattrPair): number {
  if (a.key !== b.key) return a.key.key < b.key.key ? 1 : -1;
  if (a.value.length !== b.value.length) return b.value.length - a.value.length;
  return a.value < b.value ? 1 : -1;
}

export function entrySize(pair: XattrPair): number {
  return (4 + pair.key.suffix.length + pair.value.length + 3) & ~3;
}

/** Which of an inode's xattrs, in key order, are stored as ids of the shared table. */
function isStoredShared(pair: XattrPair, sharedBefore: number): boolean {
  return pair.uses > 1 && sharedBefore < MAX_SHARED;
}

/** Bytes of an inode's xattr area. `pairs` are in key order. */
export function xattrAreaSize(pairs: readonly XattrPair[]): number {
  if (pairs.length === 0) return 0;
  let size = XATTR_HEADER;
  let shared = 0;
  for (const pair of pairs) {
    const stored = isStoredShared(pair, shared);
    size += stored ? 4 : entrySize(pair);
    if (stored) shared += 1;
  }
  if (icountOf(size) > MAX_ICOUNT) throw new FormatError('xattrs-size', 'the xattrs of one file do not fit into an image');
  return size;
}

/** i_xattr_icount of an area. */
export function icountOf(areaSize: number): number {
  return areaSize === 0 ? 0 : (areaSize - XATTR_HEADER) / 4 + 1;
}

/** Writes an inode's xattr area at `at`. `tableStart` is the offset of the shared table from the block that ids count from. */
export function putXattrArea(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  pairs: readonly XattrPair[],
  tableStart: number,
): void {
  let filter = 0xffffffff;
  let shared = 0;
  for (const pair of pairs) {
    filter &= ~(1 << pair.key.filterBit);
    if (!isStoredShared(pair, shared)) continue;
    view.setUint32(at + XATTR_HEADER + 4 * shared, (tableStart + pair.offset) / 4, true);
    shared += 1;
  }
  view.setUint32(at, filter >>> 0, true);
  bytes[at + 4] = shared;
  let entry = at + XATTR_HEADER + 4 * shared;
  let passed = 0;
  for (const pair of pairs) {
    if (isStoredShared(pair, passed)) passed += 1;
    else entry = putXattrEntry(bytes, view, entry, pair);
  }
}

/** Writes one entry at `at` and returns the offset behind it. */
export function putXattrEntry(bytes: Uint8Array, view: DataView, at: number, pair: XattrPair): number {
  bytes[at] = pair.key.suffix.length;
  bytes[at + 1] = pair.key.index;
  view.setUint16(at + 2, pair.value.length, true);
  putByteString(bytes, putByteString(bytes, at + 4, pair.key.suffix), pair.value);
  return at + entrySize(pair);
}
