import { type ByteString, byteString, hexOf } from './bytes.js';
import { directoryExtent, BLOCK } from './directory-blocks.js';
import { escapeField, escapeXattr } from './dump-escape.js';
import { STUB_NAMES } from './prepare.js';
import { DIR, type Entry, LNK, type Node, isExternal, isLink, typeOf } from './tree.js';

const DOTS = [byteString('.'), byteString('..')];

/** A directory whose entries are being listed. */
interface Open {
  /** Escaped, with a slash at the end. */
  readonly prefix: string;
  readonly children: ReadonlyMap<ByteString, Entry>;
  readonly names: readonly ByteString[];
  next: number;
}

/**
 * The lines of a tree's dump file, each with its LF, in ASCII: depth first, children in name order. The first name of a node met in this order carries its attributes,
 * the others are links to it. Paths repeat in every line, so a dump can be far larger than its tree: take the lines one by one.
 */
export function* dumpLines(root: Node): Generator<string, void, void> {
  const linked = findLinked(root);
  const firstPaths = new Map<Node, string>();
  yield `/ ${formatAttributes(root, directorySize(root, true), '')} ${formatRest(root)}\n`;
  const stack: Open[] = [openDirectory('/', root)];
  for (let open = stack.at(-1); open !== undefined; open = stack.at(-1)) {
    const name = open.names[open.next];
    if (name === undefined) {
      stack.pop();
      continue;
    }
    open.next += 1;
    const entry = open.children.get(name) as Entry;
    const node = isLink(entry) ? entry.link : entry;
    const path = open.prefix + escapeField(name);
    yield formatLine(path, node, firstPaths.get(node));
    if (linked.has(node) && !firstPaths.has(node)) firstPaths.set(node, path);
    if (node.children !== undefined) stack.push(openDirectory(`${path}/`, node));
  }
}

function openDirectory(prefix: string, node: Node): Open {
  const children = node.children ?? new Map<ByteString, Entry>();
  return { prefix, children, names: [...children.keys()].sort(), next: 0 };
}

/** Nodes with more than one name. */
function findLinked(root: Node): ReadonlySet<Node> {
  const linked = new Set<Node>();
  const directories = [root];
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    for (const entry of directory.children?.values() ?? []) {
      if (isLink(entry)) linked.add(entry.link);
      else if (entry.children !== undefined) directories.push(entry);
    }
  }
  return linked;
}

function formatLine(path: string, node: Node, firstPath: string | undefined): string {
  const size = typeOf(node) === DIR ? directorySize(node, false) : node.size;
  if (firstPath === undefined) return `${path} ${formatAttributes(node, size, '')} ${formatRest(node)}\n`;
  return `${path} ${formatAttributes(node, size, '@')} ${firstPath} - -\n`;
}

/** Fields 2 to 8. */
function formatAttributes(node: Node, size: bigint, link: string): string {
  const nlink = node.children === undefined ? node.nlink : 2 + countDirectories(node.children);
  return `${size} ${link}${node.mode.toString(8)} ${nlink} ${node.uid} ${node.gid} ${node.rdev} ${node.mtime}.${node.mtimeNsec}`;
}

/** Fields 9 to 11 and the xattrs in key order. */
function formatRest(node: Node): string {
  const external = isExternal(node);
  const payload = typeOf(node) === LNK ? node.target : external ? node.payload : undefined;
  const digest = external && node.digest !== undefined ? hexOf(node.digest) : '-';
  let line = `${formatOptional(payload)} ${formatOptional(node.content)} ${digest}`;
  for (const key of [...node.xattrs.keys()].sort())
    line += ` ${escapeXattr(key)}=${escapeXattr(node.xattrs.get(key) as ByteString)}`;
  return line;
}

function formatOptional(value: ByteString | undefined): string {
  if (value === undefined || value === '') return '-';
  return value === '-' ? '\\x2d' : escapeField(value);
}

function countDirectories(children: ReadonlyMap<ByteString, Entry>): number {
  let count = 0;
  for (const entry of children.values()) if (!isLink(entry) && entry.children !== undefined) count += 1;
  return count;
}

/** The size that a directory has in an image. */
function directorySize(node: Node, isRoot: boolean): bigint {
  const names = [...DOTS, ...(node.children?.keys() ?? [])];
  if (isRoot) names.push(...STUB_NAMES.filter((name) => node.children?.has(name) !== true));
  const { blocks, tail } = directoryExtent(names.sort());
  return BigInt(blocks * BLOCK + tail);
}
