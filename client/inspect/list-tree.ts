// cfsctl ls: a tree as `ls -l` shows it, and as JSON. Entry by entry: a tree can have millions.
import { type ByteString, hexOf } from '../../core/image/bytes.js';
import { BLK, CHR, DIR, FIFO, LNK, type Node, REG, SOCK, isLink, typeOf } from '../../core/image/tree.js';
import { formatTime } from '../output.js';
import type { Found } from './find-path.js';
import { showBytes } from './shown-bytes.js';

/** What is at a path, or what is in it if it is a directory; `recursive`: what is anywhere below it. In the order of names as bytes, depth first. */
export function* listTree(found: Found, recursive: boolean): Generator<Found, void, void> {
  if (found.node.children === undefined) {
    yield found;
    return;
  }
  const open = [childrenOf(found)];
  for (let children = open.at(-1); children !== undefined; children = open.at(-1)) {
    const { value } = children.next();
    if (value === undefined) {
      open.pop();
      continue;
    }
    yield value;
    if (recursive && value.node.children !== undefined) open.push(childrenOf(value));
  }
}

function* childrenOf({ path, node }: Found): Generator<Found, undefined, void> {
  const prefix = path === '/' ? '/' : `${path}/`;
  for (const name of [...(node.children?.keys() ?? [])].sort()) {
    const entry = node.children?.get(name);
    if (entry !== undefined) yield { path: (prefix + name) as ByteString, node: isLink(entry) ? entry.link : entry };
  }
  return undefined;
}

const LETTERS: Readonly<Record<number, string>> = {
  [REG]: '-',
  [DIR]: 'd',
  [LNK]: 'l',
  [CHR]: 'c',
  [BLK]: 'b',
  [FIFO]: 'p',
  [SOCK]: 's',
};
const TYPE_NAMES: Readonly<Record<number, string>> = {
  [REG]: 'file',
  [DIR]: 'directory',
  [LNK]: 'symlink',
  [CHR]: 'character',
  [BLK]: 'block',
  [FIFO]: 'fifo',
  [SOCK]: 'socket',
};

/** One line. `shown`: the name to end it with. Columns are as wide as is usual: to know the widest value would be to hold the whole list. */
export function formatLine(node: Node, shown: ByteString): string {
  const columns = [
    formatMode(node.mode),
    String(nlinkOf(node)).padStart(3),
    String(node.uid).padStart(5),
    String(node.gid).padStart(5),
    (deviceOf(node)?.replace(':', ', ') ?? sizeOf(node) ?? '-').padStart(10),
    formatMtime(node.mtime).padEnd(19),
    showBytes(shown),
  ];
  const arrow = node.target === undefined ? '' : ` -> ${showBytes(node.target)}`;
  return `${columns.join(' ')}${arrow}\n`;
}

/** Fields are never left out; what does not apply is null. */
export function describeEntry({ path, node }: Found): object {
  return {
    path: showBytes(path),
    type: TYPE_NAMES[typeOf(node)],
    mode: (node.mode & 0o7777).toString(8).padStart(4, '0'),
    nlink: nlinkOf(node),
    uid: node.uid,
    gid: node.gid,
    size: sizeOf(node),
    device: deviceOf(node),
    mtime: node.mtime,
    mtimeNsec: node.mtimeNsec,
    target: node.target === undefined ? null : showBytes(node.target),
    object: node.payload === undefined ? null : showBytes(node.payload),
    digest: node.digest === undefined ? null : `${node.digest.length === 64 ? 'sha512' : 'sha256'}:${hexOf(node.digest)}`,
  };
}

function nlinkOf(node: Node): number {
  if (node.children === undefined) return node.nlink;
  let directories = 0;
  for (const entry of node.children.values()) if (!isLink(entry) && entry.children !== undefined) directories += 1;
  return 2 + directories;
}

/** Bytes; null for a directory, whose size says nothing of it. */
function sizeOf(node: Node): string | null {
  return node.children === undefined ? String(node.size) : null;
}

/** Device numbers as Linux packs them into 32 bits (linux/kdev_t.h new_encode_dev). */
function deviceOf({ mode, rdev }: Node): string | null {
  const type = mode >> 12;
  if (type !== CHR && type !== BLK) return null;
  return `${(rdev >>> 8) & 0xfff}:${(rdev & 0xff) | ((rdev >>> 12) & 0xfff00)}`;
}

const SPECIAL: readonly (readonly [bit: number, at: number, letter: string])[] = [
  [0o4000, 2, 's'],
  [0o2000, 5, 's'],
  [0o1000, 8, 't'],
];

/** As ls(1): `drwxr-sr-x`. */
export function formatMode(mode: number): string {
  const letters = Array.from('rwxrwxrwx', (letter, index) => ((mode & (0o400 >> index)) === 0 ? '-' : letter));
  for (const [bit, at, letter] of SPECIAL)
    if ((mode & bit) !== 0) letters[at] = letters[at] === '-' ? letter.toUpperCase() : letter;
  return (LETTERS[mode >> 12] ?? '?') + letters.join('');
}

/** Local time; the seconds alone where no calendar reaches. */
function formatMtime(seconds: bigint): string {
  const inCalendar = seconds > -62_167_219_200n && seconds < 253_402_214_400n; // years 0 to 9999
  return inCalendar ? formatTime(Number(seconds) * 1000) : `@${seconds}`;
}
