import { type ByteString, byteString } from './bytes.js';
import { FormatError } from './format-error.js';
import { EMPTY } from './overlay-xattrs.js';
import { STUB_NAMES, makeStub, prepareXattrs } from './prepare.js';
import {
  DIR,
  type Entry,
  LNK,
  MAX_CONTENT,
  MAX_EXTERNAL_SIZE,
  MAX_PAYLOAD,
  MAX_TARGET,
  type Node,
  REG,
  isExternal,
  isLink,
  isWhiteout,
  TYPES,
  requireName,
  typeOf,
} from './tree.js';
import type { ComposefsVersion } from './version.js';
import { type XattrPair, type XattrTable, createXattrTable } from './xattr-table.js';

/** An inode of the image to be written. The second half is filled in by layOut. */
export interface Inode {
  readonly node: Node;
  readonly mode: number;
  readonly size: bigint;
  nlink: number;
  /** In key order. */
  readonly xattrs: readonly XattrPair[];
  /** DIR: names in their order, with `.` and `..`, and what they name. */
  names: readonly ByteString[];
  targets: readonly Inode[];

  extended: boolean;
  xattrSize: number;
  /** Whole data blocks, and bytes directly behind the inode and its xattrs. */
  blocks: number;
  tail: number;
  /** External files: log2 of the chunk size, else 0. */
  chunkBits: number;
  /** Bytes from the start of the image. */
  offset: number;
  firstBlock: number;
}

/** The inodes of an image, numbered: breadth first, children in name order. */
export interface InodeList {
  readonly inodes: readonly Inode[];
  readonly xattrs: XattrTable;
}

const DOT = byteString('.');
const DOT_DOT = byteString('..');

/** Rewrites a tree for overlayfs and numbers its inodes. The tree stays as it is. Throws FormatError if it cannot be represented. */
export function listInodes(root: Node, version: ComposefsVersion): InodeList {
  if (typeOf(root) !== DIR) throw new FormatError('root-type', 'the root must be a directory');
  const table = createXattrTable();
  const inodes: Inode[] = [newInode(root, 'root', version, table)];
  const parents: Inode[] = [...inodes];
  const links: [inode: Inode, slot: number, target: Node][] = [];
  const stub = makeStub(root);
  for (let index = 0; index < inodes.length; index += 1) {
    const inode = inodes[index] as Inode;
    const { children } = inode.node;
    if (children === undefined) continue;
    const { names, targets } = openDirectory(inode, parents[index] as Inode, index === 0);
    for (const [slot, name] of names.entries()) {
      if (targets[slot] !== undefined) continue;
      const entry: Entry | undefined = children.get(name);
      if (entry !== undefined && isLink(entry)) {
        links.push([inode, slot, entry.link]);
        continue;
      }
      const child = newInode(entry ?? stub, entry === undefined ? 'stub' : 'other', version, table);
      if (entry?.children !== undefined) inode.nlink += 1;
      targets[slot] = child;
      inodes.push(child);
      parents.push(inode);
    }
    inode.names = names;
    inode.targets = targets as Inode[];
  }
  connectLinks(inodes, links);
  return { inodes, xattrs: table };
}

/** Names of a directory in their order; targets of `.` and `..` are known. */
function openDirectory(inode: Inode, parent: Inode, isRoot: boolean): { names: ByteString[]; targets: (Inode | undefined)[] } {
  const names: ByteString[] = [DOT, DOT_DOT];
  for (const name of inode.node.children?.keys() ?? []) {
    requireName(name);
    names.push(name);
  }
  if (isRoot) for (const name of STUB_NAMES) if (inode.node.children?.has(name) === false) names.push(name);
  names.sort();
  const targets = Array.from<Inode | undefined>({ length: names.length });
  targets[names.indexOf(DOT)] = inode;
  targets[names.indexOf(DOT_DOT)] = parent;
  return { names, targets };
}

function newInode(node: Node, role: 'root' | 'stub' | 'other', version: ComposefsVersion, table: XattrTable): Inode {
  requireWritable(node);
  const whiteout = role !== 'stub' && isWhiteout(node);
  const xattrs = role === 'stub' ? node.xattrs : prepareXattrs(node, role === 'root', version);
  const keys = [...xattrs.keys()].sort();
  return {
    node,
    mode: whiteout ? (REG << 12) | (node.mode & 0xfff) : node.mode,
    size: whiteout ? 0n : node.size,
    nlink: node.children === undefined ? node.nlink : 2,
    xattrs: keys.map((key) => table.add(key, xattrs.get(key) ?? EMPTY)),
    names: [],
    targets: [],
    extended: false,
    xattrSize: 0,
    blocks: 0,
    tail: 0,
    chunkBits: 0,
    offset: 0,
    firstBlock: 0,
  };
}

function connectLinks(inodes: readonly Inode[], links: readonly (readonly [inode: Inode, slot: number, target: Node])[]): void {
  if (links.length === 0) return;
  const byNode = new Map(inodes.map((inode) => [inode.node, inode]));
  for (const [inode, slot, target] of links) {
    const found = byNode.get(target);
    if (found === undefined) throw new FormatError('link-target', 'a link names a node that is not in the tree');
    if (target.children !== undefined) throw new FormatError('link-to-directory', 'a link cannot name a directory');
    if (isWhiteout(target)) throw new FormatError('link-to-whiteout', 'a link cannot name a whiteout (character device 0/0)');
    (inode.targets as Inode[])[slot] = found;
  }
}

/** The limits whose breach would make an image that no reader takes. */
function requireWritable(node: Node): void {
  const type = typeOf(node);
  if (!TYPES.has(type)) throw new FormatError('mode-type', 'the mode has no file type or an unknown one');
  if (type === LNK) requireTarget(node);
  if ((type === DIR) !== (node.children !== undefined))
    throw new FormatError('children-type', 'directories, and only they, have children');
  if (type === REG && node.content !== undefined) requireContent(node, node.content);
  if (!isExternal(node)) return;
  if (node.size > MAX_EXTERNAL_SIZE) throw new FormatError('external-size', 'a file has at most 2^53 bytes');
  if (node.digest !== undefined && node.digest.length !== 32 && node.digest.length !== 64)
    throw new FormatError('digest-length', 'a digest has 32 or 64 bytes');
  if (node.payload !== undefined && (node.payload.length > MAX_PAYLOAD || node.payload.includes('\0') || node.payload === ''))
    throw new FormatError('payload-length', `a payload has 1 to ${MAX_PAYLOAD} bytes without NUL`);
}

function requireTarget(node: Node): void {
  const target = node.target ?? '';
  if (target === '' || target.length > MAX_TARGET || target.includes('\0'))
    throw new FormatError('target-length', `the target of a symbolic link has 1 to ${MAX_TARGET} bytes without NUL`);
  if (node.size !== BigInt(target.length))
    throw new FormatError('target-size', 'the size of a symbolic link is the length of its target');
}

function requireContent(node: Node, content: ByteString): void {
  if (content === '' || content.length > MAX_CONTENT)
    throw new FormatError('content-length', `content has 1 to ${MAX_CONTENT} bytes`);
  if (node.size !== BigInt(content.length))
    throw new FormatError('content-size', 'the size of a file is the length of its content');
}
