// Plain EROFS images put together inode by inode: what no mkfs.erofs makes, for readers to refuse or to see through.

export interface SmallInode {
  /** Slots of 32 bytes from the start of the image; the first free one is 36. */
  readonly nid: number;
  readonly mode: number;
  /** Default: the length of `tail`. */
  readonly size?: number;
  /** i_format bits 1–3; default 2 (inline) with a tail, else 0 (plain). */
  readonly layout?: number;
  /** i_u. */
  readonly locator?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** 64 bytes instead of 32; `upper` are its bytes 6 and 7. */
  readonly extended?: { readonly upper: number };
  /** The whole xattr area: see `xattrArea`. */
  readonly xattrs?: Uint8Array;
  readonly tail?: Uint8Array;
}

export const ROOT_NID = 36;
const SB = 1024;
const TYPE: Readonly<Record<number, number>> = { 0o10: 1, 0o04: 2, 0o02: 3, 0o06: 4, 0o01: 5, 0o14: 6, 0o12: 7 };

export type SmallEntry = readonly [name: string, nid: number, mode: number];

/** A directory block; entries in the order given, names as latin1. */
export function directoryBlock(entries: readonly SmallEntry[]): Uint8Array {
  const names = Buffer.from(entries.map(([name]) => name).join(''), 'latin1');
  const block = Buffer.alloc(12 * entries.length + names.length);
  names.copy(block, 12 * entries.length);
  let nameAt = 12 * entries.length;
  for (const [index, [name, nid, mode]] of entries.entries()) {
    block.writeBigUInt64LE(BigInt(nid), 12 * index);
    block.writeUInt16LE(nameAt, 12 * index + 8);
    block.writeUInt8(TYPE[mode >> 12] ?? 0, 12 * index + 10);
    nameAt += name.length;
  }
  return block;
}

/** One xattr as it is stored, inline or shared. */
export function xattrEntry(index: number, name: string, value: string): Uint8Array {
  const entry = Buffer.alloc(Math.ceil((4 + name.length + value.length) / 4) * 4);
  entry.writeUInt8(name.length, 0);
  entry.writeUInt8(index, 1);
  entry.writeUInt16LE(value.length, 2);
  entry.write(name + value, 4, 'latin1');
  return entry;
}

/** Header, ids of shared xattrs, entries. The name filter denies nothing. */
export function xattrArea(shared: readonly number[], entries: readonly Uint8Array[]): Uint8Array {
  const header = Buffer.alloc(12 + 4 * shared.length);
  header.writeUInt8(shared.length, 4);
  for (const [index, id] of shared.entries()) header.writeUInt32LE(id, 12 + 4 * index);
  return Buffer.concat([header, ...entries]);
}

export interface SmallImage {
  readonly inodes: readonly SmallInode[];
  readonly blocks?: number;
  /** Bytes put in afterwards, by offset. */
  readonly put?: Readonly<Record<number, Uint8Array>>;
}

/** The bytes of an image of 4096-byte blocks, two unless said, without a checksum. Nothing is checked. */
export function makeSmallErofs({ inodes, blocks = 2, put = {} }: SmallImage): Buffer {
  const image = Buffer.alloc(blocks * 4096);
  image.writeUInt32LE(0xe0f5e1e2, SB);
  image.writeUInt8(12, SB + 12);
  image.writeUInt16LE(ROOT_NID, SB + 14);
  image.writeBigUInt64LE(BigInt(inodes.length), SB + 16);
  image.writeUInt32LE(blocks, SB + 36);
  for (const inode of inodes) putInode(image, inode);
  for (const [offset, bytes] of Object.entries(put)) image.set(bytes, Number(offset));
  return image;
}

function putInode(image: Buffer, inode: SmallInode): void {
  const { nid, mode, tail = new Uint8Array(), xattrs = new Uint8Array(), extended, locator = 0, uid = 0, gid = 0 } = inode;
  const at = nid * 32;
  const layout = inode.layout ?? (tail.length > 0 ? 2 : 0);
  const size = inode.size ?? tail.length;
  image.writeUInt16LE((layout << 1) | (extended ? 1 : 0), at);
  image.writeUInt16LE(xattrs.length === 0 ? 0 : (xattrs.length - 12) / 4 + 1, at + 2);
  image.writeUInt16LE(mode, at + 4);
  image.writeUInt32LE(locator, at + 16);
  if (extended) {
    image.writeUInt16LE(extended.upper, at + 6);
    image.writeBigUInt64LE(BigInt(size), at + 8);
    image.writeUInt32LE(uid, at + 24);
    image.writeUInt32LE(gid, at + 28);
    image.writeUInt32LE(1, at + 44);
  } else {
    image.writeUInt16LE(1, at + 6);
    image.writeUInt32LE(size, at + 8);
    image.writeUInt16LE(uid, at + 24);
    image.writeUInt16LE(gid, at + 26);
  }
  const rest = at + (extended ? 64 : 32);
  image.set(xattrs, rest);
  image.set(tail, rest + xattrs.length);
}

/** A root directory with these entries beside its own two, all in order. */
export function rootWith(entries: readonly SmallEntry[], more: Partial<SmallInode> = {}): SmallInode {
  const all: SmallEntry[] = [['.', ROOT_NID, 0o40755], ['..', ROOT_NID, 0o40755], ...entries];
  return { nid: ROOT_NID, mode: 0o40755, tail: directoryBlock(all), ...more };
}
