import { type ByteString } from './bytes.js';
import { parseComposefsHeader } from './composefs-header.js';
import { BLOCK } from './directory-blocks.js';
import { FormatError } from './format-error.js';
import { STUB_NAMES } from './prepare.js';
import { createBlockCount, readData } from './reader-blocks.js';
import { type DirectoryEntry, readDirectory } from './reader-directory.js';
import { CHUNKS, type ImageView, type RawInode, peekIno, readInode } from './reader-inode.js';
import { createXattrReader } from './reader-xattrs.js';
import { restoreNode } from './restore.js';
import { CHR, DIR, LNK, type Node, REG, isWhiteout } from './tree.js';
import type { ComposefsVersion } from './version.js';
import { direntTypeOf } from './writer.js';

export interface ReadOptions {
  /** Images of more bytes are refused unread. Default: no limit. */
  readonly maxSize?: number;
  /** Take external files above 2^52 bytes too; their chunk tables may lie where a kernel does not look. Default false. */
  readonly hugeFiles?: boolean;
}

export interface ReadImage {
  readonly version: ComposefsVersion;
  readonly root: Node;
  /** Inodes in the image, the whiteouts that hide the object store included. */
  readonly inodes: number;
}

/** An inode that was reached, in the order of its number. */
interface Reached {
  readonly nid: number;
  /** Undefined if nodes are not kept, and for a whiteout that hides a directory of the object store. */
  readonly node: Node | undefined;
  /** It may have further names. */
  readonly isLinkable: boolean;
  readonly parentNid: number;
  /** Of a directory whose entries are still to be read. */
  raw: RawInode | undefined;
}

/** A name of an inode that has its primary name elsewhere. */
interface FurtherName extends DirectoryEntry {
  readonly parent: Node | undefined;
}

interface Walked {
  /** In the order of their numbers, the root first. */
  readonly reached: readonly Reached[];
  /** In the tree, the root among them. */
  readonly names: number;
}

const MAGIC = 0xd078629a; // lcfs-erofs.h LCFS_EROFS_MAGIC
const SB = 1024;
const FIRST_INODE = 1152;
const STUBS: ReadonlySet<ByteString> = new Set(STUB_NAMES);

/**
 * Reads a composefs image (format versions 0 and 1) into the tree it was made from. Bytes may come from anyone: time and memory grow linearly with their number and
 * every offset is checked. What the format allows to be derived is not compared here; isCanonical does. Throws FormatError.
 */
export function readImage(bytes: Uint8Array, options: ReadOptions = {}): ReadImage {
  const { image, tableBlock, version } = openImage(bytes, options);
  const { reached } = walk(image, tableBlock, (node) => node);
  return { version, root: reached[0]?.node as Node, inodes: reached.length };
}

/**
 * Reads an image with the same checks, but shows each node once and keeps none, so that little memory is used beside that of the image. Directories are shown without
 * their children. Returns the number of names. Throws FormatError, also after some nodes were shown.
 */
export function visitImage(
  bytes: Uint8Array,
  show: (node: Node) => void,
  options: ReadOptions = {},
): { readonly version: ComposefsVersion; readonly names: number } {
  const { image, tableBlock, version } = openImage(bytes, options);
  const { names } = walk(image, tableBlock, (node) => {
    show(node);
    return undefined;
  });
  return { version, names };
}

function openImage(bytes: Uint8Array, options: ReadOptions): { image: ImageView; tableBlock: number; version: ComposefsVersion } {
  if (bytes.length > (options.maxSize ?? Number.POSITIVE_INFINITY))
    throw new FormatError('image-size', `the image has ${bytes.length} bytes, more than are taken here`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < FIRST_INODE || view.getUint32(0, true) !== MAGIC)
    throw new FormatError('composefs-magic', 'this is not a composefs image');
  const { composefsVersion } = parseComposefsHeader(view, bytes.length);
  const tableBlock = view.getUint32(SB + 44, true);
  const image: ImageView = {
    bytes,
    view,
    buildTime: view.getBigInt64(SB + 24, true),
    buildTimeNsec: view.getUint32(SB + 32, true),
    inodesLimit: Math.min(bytes.length, (tableBlock + 1) * BLOCK),
    hugeFiles: options.hugeFiles ?? false,
  };
  return { image, tableBlock, version: composefsVersion ?? 0 };
}

/**
 * Breadth first, which is the order of the inodes: a queue, because directories may nest without bound. `take` sees each node once and says what is kept of it: the node
 * itself, which then gets its children, or nothing.
 */
function walk(image: ImageView, tableBlock: number, take: (node: Node) => Node | undefined): Walked {
  const xattrs = createXattrReader(image, tableBlock);
  const blocks = createBlockCount(image);
  const reached: Reached[] = [];
  const further: FurtherName[] = [];
  let inodesEnd = FIRST_INODE;
  let names = 0;
  const reach = (nid: number, parent: Reached | undefined, name: ByteString): Reached => {
    const raw = readInode(image, nid);
    if (raw.offset < inodesEnd) throw new FormatError('inode-order', 'inodes overlap or are not in the order of their numbers');
    inodesEnd = raw.tailStart + raw.tailSize;
    blocks.take(raw);
    const own = xattrs.read(raw);
    const node = isStub(raw, parent === reached[0], name) ? undefined : restoreNode(raw, own, dataOf(image, raw));
    const next = {
      nid,
      node: node === undefined ? undefined : take(node),
      isLinkable: node !== undefined && node.children === undefined && !isWhiteout(node),
      parentNid: parent?.nid ?? nid,
      raw: node?.children === undefined ? undefined : raw,
    };
    reached.push(next);
    if (node !== undefined) names += 1;
    return next;
  };
  requireRoot(image, reach(image.view.getUint16(SB + 14, true), undefined, '' as ByteString));
  for (let index = 0; index < reached.length; index += 1) {
    const directory = reached[index] as Reached;
    if (directory.raw === undefined) continue;
    for (const entry of readEntries(image, directory, directory.raw)) {
      if (peekIno(image, entry.nid) === reached.length)
        addChild(directory.node, entry, reach(entry.nid, directory, entry.name), image);
      else further.push({ ...entry, parent: directory.node });
    }
    directory.raw = undefined;
  }
  if (image.view.getBigUint64(SB + 16, true) !== BigInt(reached.length))
    throw new FormatError('inode-count', 'the image has not as many inodes as it claims');
  for (const name of further) addLink(image, name, reached);
  xattrs.finish(inodesEnd, blocks.finish());
  return { reached, names: names + further.length };
}

function requireRoot(image: ImageView, { raw, nid }: Reached): void {
  if (raw === undefined || peekIno(image, nid) !== 0)
    throw new FormatError('root-type', 'the root is not a directory numbered 0');
}

function dataOf(image: ImageView, raw: RawInode): ByteString | undefined {
  const type = raw.mode >> 12;
  return type === LNK || (type === REG && raw.layout !== CHUNKS) ? readData(image, raw) : undefined;
}

/** Real whiteouts are there only to hide the directories of the object store. */
function isStub(raw: RawInode, inRoot: boolean, name: ByteString): boolean {
  if (raw.mode >> 12 !== CHR || raw.locator !== 0) return false;
  if (!inRoot || raw.nlink !== 1 || !STUBS.has(name))
    throw new FormatError('stub', 'an unescaped whiteout is not one of those in the root');
  return true;
}

/** Entries of a directory but `.` and `..`, which must be there and right. */
function* readEntries(image: ImageView, directory: Reached, raw: RawInode): Generator<DirectoryEntry, void, void> {
  let dots = 0;
  for (const entry of readDirectory(image, raw)) {
    if (entry.name !== '.' && entry.name !== '..') {
      yield entry;
      continue;
    }
    const wanted = entry.name === '.' ? directory.nid : directory.parentNid;
    if (entry.nid !== wanted || entry.type !== direntTypeOf(DIR))
      throw new FormatError('directory-dots', '. or .. of a directory is wrong');
    dots += 1;
  }
  if (dots !== 2) throw new FormatError('directory-dots', 'a directory lacks . or ..');
}

function addChild(parent: Node | undefined, entry: DirectoryEntry, child: Reached, image: ImageView): void {
  requireType(image, entry);
  if (child.node !== undefined) parent?.children?.set(entry.name, child.node);
}

function addLink(image: ImageView, name: FurtherName, reached: readonly Reached[]): void {
  const target = reached[peekIno(image, name.nid)];
  if (target?.nid !== name.nid) throw new FormatError('link-target', 'a directory entry names no inode of the image');
  requireType(image, name);
  if (!target.isLinkable) throw new FormatError('link-target', 'a directory or a whiteout has a second name');
  if (target.node !== undefined) name.parent?.children?.set(name.name, { link: target.node });
}

function requireType(image: ImageView, entry: DirectoryEntry): void {
  const mode = image.view.getUint16(entry.nid * 32 + 4, true);
  if (entry.type !== direntTypeOf(mode >> 12))
    throw new FormatError('directory-type', 'a directory entry has another type than its inode');
}
