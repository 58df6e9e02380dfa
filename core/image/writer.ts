import { type ByteString, byteString, putByteString } from './bytes.js';
import { BLOCK, DIRENT, endOfDirectoryBlock } from './directory-blocks.js';
import { type Inode, type InodeList, listInodes } from './inodes.js';
import { type Layout, SLOT, inodeSize, layOut } from './layout.js';
import { BLK, CHR, DIR, LNK, type Node, REG } from './tree.js';
import type { ComposefsVersion } from './version.js';
import { icountOf, putXattrArea, putXattrEntry } from './xattr-table.js';

const SB = 1024; // EROFS_SUPER_OFFSET
const ACL_KEYS = [byteString('system.posix_acl_access'), byteString('system.posix_acl_default')];

// i_format, bits 1-3 (linux/fs/erofs/erofs_fs.h EROFS_INODE_*)
const FLAT_PLAIN = 0 << 1;
const FLAT_INLINE = 2 << 1;
const CHUNK_BASED = 4 << 1;

/** EROFS_FT_* by type of file (SOCK is 6). */
const DIRENT_TYPE: ReadonlyMap<number, number> = new Map([
  [REG, 1],
  [DIR, 2],
  [CHR, 3],
  [BLK, 4],
  [0o01, 5],
  [0o14, 6],
  [LNK, 7],
]);

export function direntTypeOf(type: number): number {
  return DIRENT_TYPE.get(type) ?? 0;
}

/** An image whose bytes are not made yet. */
export interface PlannedImage {
  /** Bytes of the image, a multiple of 4096. */
  readonly size: number;
  /** Fills `size` bytes, which must all be zero. */
  write(bytes: Uint8Array): void;
}

/** Rewrites a tree for overlayfs and places it in an image; nothing of the image's size is allocated. Throws FormatError if the tree cannot be represented. */
export function planImage(root: Node, version: ComposefsVersion): PlannedImage {
  const list = listInodes(root, version);
  const layout = layOut(list);
  return { size: layout.size, write: (bytes) => putImage(bytes, list, layout, version) };
}

/** The one composefs image of a tree in a version of the format. Throws FormatError if the tree cannot be represented. */
export function writeImage(root: Node, version: ComposefsVersion): Uint8Array {
  const plan = planImage(root, version);
  const bytes = new Uint8Array(plan.size);
  plan.write(bytes);
  return bytes;
}

function putImage(bytes: Uint8Array, list: InodeList, layout: Layout, version: ComposefsVersion): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  view.setUint32(0, 0xd078629a, true); // lcfs-erofs.h LCFS_EROFS_MAGIC
  view.setUint32(4, 1, true);
  view.setUint32(8, ACL_KEYS.some((key) => list.xattrs.has(key)) ? 1 : 0, true);
  view.setUint32(12, version, true);
  putSuperblock(view, list, layout);
  for (const [ino, inode] of list.inodes.entries()) {
    putInode(view, inode, ino);
    putXattrs(bytes, view, inode, layout);
    putData(bytes, view, inode);
  }
  let at = layout.inodesEnd;
  for (const pair of layout.shared) at = putXattrEntry(bytes, view, at, pair);
}

function putSuperblock(view: DataView, list: InodeList, layout: Layout): void {
  view.setUint32(SB, 0xe0f5e1e2, true); // EROFS_SUPER_MAGIC_V1
  view.setUint32(SB + 8, 6, true); // EROFS_FEATURE_COMPAT_MTIME | XATTR_FILTER
  view.setUint8(SB + 12, 12);
  view.setUint16(SB + 14, (list.inodes[0]?.offset ?? 0) / SLOT, true);
  view.setBigUint64(SB + 16, BigInt(list.inodes.length), true);
  view.setBigInt64(SB + 24, layout.buildTime, true);
  view.setUint32(SB + 32, layout.buildTimeNsec, true);
  view.setUint32(SB + 36, layout.size / BLOCK, true);
  view.setUint32(SB + 44, Math.floor(layout.inodesEnd / BLOCK), true);
}

function putInode(view: DataView, inode: Inode, ino: number): void {
  const { node, offset: at } = inode;
  const data = isExternalInode(inode) ? CHUNK_BASED : inode.tail > 0 ? FLAT_INLINE : FLAT_PLAIN;
  view.setUint16(at, data | (inode.extended ? 1 : 0), true);
  view.setUint16(at + 2, icountOf(inode.xattrSize), true);
  view.setUint16(at + 4, inode.mode, true);
  view.setUint32(at + 16, locatorOf(inode), true);
  view.setUint32(at + 20, ino, true);
  if (inode.extended) {
    view.setBigUint64(at + 8, imageSizeOf(inode), true);
    view.setUint32(at + 24, node.uid, true);
    view.setUint32(at + 28, node.gid, true);
    view.setBigInt64(at + 32, node.mtime, true);
    view.setUint32(at + 40, node.mtimeNsec, true);
    view.setUint32(at + 44, inode.nlink, true);
  } else {
    view.setUint16(at + 6, inode.nlink, true);
    view.setUint32(at + 8, Number(imageSizeOf(inode)), true);
    view.setUint16(at + 24, node.uid, true);
    view.setUint16(at + 26, node.gid, true);
  }
}

function isExternalInode(inode: Inode): boolean {
  return inode.chunkBits > 0;
}

/** i_size. */
function imageSizeOf(inode: Inode): bigint {
  const type = inode.mode >> 12;
  if (type === DIR) return BigInt(inode.blocks * BLOCK + inode.tail);
  return type === REG || type === LNK ? inode.size : 0n;
}

/** i_u. */
function locatorOf(inode: Inode): number {
  const type = inode.mode >> 12;
  if (type === CHR || type === BLK) return inode.node.rdev;
  if (isExternalInode(inode)) return ((inode.firstBlock & 0xffff0000) | (inode.chunkBits - 12)) >>> 0;
  return inode.firstBlock;
}

function putXattrs(bytes: Uint8Array, view: DataView, inode: Inode, layout: Layout): void {
  if (inode.xattrSize > 0) putXattrArea(bytes, view, inode.offset + inodeSize(inode), inode.xattrs, layout.inodesEnd % BLOCK);
}

function putData(bytes: Uint8Array, view: DataView, inode: Inode): void {
  const tailAt = inode.offset + inodeSize(inode) + inode.xattrSize;
  const blocksAt = inode.firstBlock * BLOCK;
  const type = inode.mode >> 12;
  if (type === DIR) putDirectory(bytes, view, inode, blocksAt, tailAt);
  else if (isExternalInode(inode)) {
    if (inode.tail > 0) bytes.fill(0xff, tailAt, tailAt + inode.tail);
    else bytes.fill(0xff, blocksAt, blocksAt + BLOCK);
  } else {
    const data = type === LNK ? inode.node.target : type === REG ? inode.node.content : undefined;
    if (data !== undefined) putSplit(bytes, data, inode, blocksAt, tailAt);
  }
}

function putSplit(bytes: Uint8Array, data: ByteString, inode: Inode, blocksAt: number, tailAt: number): void {
  const whole = data.length - inode.tail;
  putByteString(bytes, blocksAt, data, 0, whole);
  putByteString(bytes, tailAt, data, whole);
}

function putDirectory(bytes: Uint8Array, view: DataView, inode: Inode, blocksAt: number, tailAt: number): void {
  for (let start = 0, block = 0; start < inode.names.length; block += 1) {
    const end = endOfDirectoryBlock(inode.names, start);
    putDirectoryBlock(bytes, view, block < inode.blocks ? blocksAt + block * BLOCK : tailAt, inode, start, end);
    start = end;
  }
}

function putDirectoryBlock(bytes: Uint8Array, view: DataView, at: number, directory: Inode, start: number, end: number): void {
  let nameOffset = DIRENT * (end - start);
  for (let index = start; index < end; index += 1) {
    const entry = at + DIRENT * (index - start);
    const target = directory.targets[index] as Inode;
    view.setUint32(entry, target.offset / SLOT, true);
    view.setUint16(entry + 8, nameOffset, true);
    bytes[entry + 10] = direntTypeOf(target.mode >> 12);
    nameOffset = putByteString(bytes, at + nameOffset, directory.names[index] as ByteString) - at;
  }
}
