// A directory becomes a tree: recursive lstat, by descriptor, so that what happens to the tree meanwhile cannot lead out of it.
import type { ByteString } from '../../core/image/bytes.js';
import { FormatError } from '../../core/image/format-error.js';
import {
  BLK,
  CHR,
  DIR,
  type Entry,
  LNK,
  MAX_EXTERNAL_SIZE,
  type Node,
  REG,
  isWhiteout,
  makeNode,
} from '../../core/image/tree.js';
import { readNames } from '../../core/kernel/directory.js';
import type { Fd, OwnedFd } from '../../core/kernel/fd.js';
import { O_DIRECTORY, O_RDONLY, openEntry, readLinkBytesAt } from '../../core/kernel/file.js';
import { type EntryStatus, identityOf, statEntry, statOpenEntry } from '../../core/kernel/stat.js';
import { atPath, changedError } from './path-error.js';
import { type XattrReader, createXattrReader } from './scan-xattrs.js';

export interface ScanOptions {
  /** All times are 1970-01-01 00:00. */
  readonly epoch?: boolean | undefined;
  /** Leave out character and block devices, whiteouts among them. */
  readonly skipDevices?: boolean | undefined;
  readonly skipXattrs?: boolean | undefined;
  /** Only keys that start with `user.`. */
  readonly userXattrs?: boolean | undefined;
  /** Names of one inode become links to one node, nlink as the file system counts it. Otherwise each name is a node of its own with nlink 1. */
  readonly hardLinks?: boolean | undefined;
}

/** A regular file that is not empty, met on the way. Its node lacks bytes or digest, and its xattrs. */
export interface ScannedFile {
  /** Open directory that holds it; closed when the scan goes on. */
  readonly directory: OwnedFd;
  readonly name: string;
  /** Below the root of the scan. Bytes (latin1), like `name`. */
  readonly path: string;
  readonly status: EntryStatus;
  readonly node: Node;
}

/** A directory whose entries are being looked at. */
interface Open {
  readonly fd: OwnedFd;
  readonly node: Node;
  /** Empty, or with a slash at the end. */
  readonly prefix: string;
  readonly status: EntryStatus;
  readonly names: readonly string[];
  next: number;
}

/**
 * Walks a directory depth first, names in byte order, and returns its tree. Files with bytes are given to `take`, which completes their nodes then or later.
 * Mounts below are walked into. Throws `RequestError` that names the path; `shown` is what the root is called there.
 */
export function scanTree(root: Fd, shown: string, options: ScanOptions, take: (file: ScannedFile) => void): Node {
  const scan: Scan = { options, shown, xattrs: createXattrReader(options), inodes: new Map(), take };
  const stack: Open[] = [];
  try {
    // Not a duplicate, which would go on listing where the root was left.
    const first = openDirectory(scan, openEntry(root, '.', O_RDONLY | O_DIRECTORY), '');
    stack.push(first);
    for (let open: Open | undefined = first; open !== undefined; open = stack.at(-1)) {
      const name = open.names[open.next++];
      if (name === undefined) closeDirectory(scan, open, stack);
      else addEntry(scan, open, name, stack);
    }
    return first.node;
  } finally {
    for (const { fd } of stack) fd.close();
  }
}

interface Scan {
  readonly options: ScanOptions;
  readonly shown: string;
  readonly xattrs: XattrReader;
  /** First node met of each inode with several names. */
  readonly inodes: Map<string, Node>;
  readonly take: (file: ScannedFile) => void;
}

function openDirectory(scan: Scan, fd: OwnedFd, path: string): Open {
  return atPath(scan.shown + path, () => {
    const status = statOpenEntry(fd);
    const node = nodeOf(status, scan.options, { xattrs: scan.xattrs.ofOpen(fd) });
    return { fd, node, prefix: `${path}/`, status, names: readNames(fd).sort(), next: 0 };
  });
}

function closeDirectory({ shown }: Scan, { fd, status, prefix }: Open, stack: Open[]): void {
  if (statOpenEntry(fd).state !== status.state) throw changedError(shown + prefix.slice(0, -1));
  fd.close();
  stack.pop();
}

function addEntry(scan: Scan, open: Open, name: string, stack: Open[]): void {
  const path = open.prefix + name;
  const entry = atPath(scan.shown + path, () => {
    const status = statEntry(open.fd, name);
    const known = scan.inodes.size > 0 ? scan.inodes.get(identityOf(status)) : undefined;
    if (known !== undefined) return { link: known };
    return addNode(scan, open, { name, path, status }, stack);
  });
  if (entry !== undefined) (open.node.children as Map<ByteString, Entry>).set(name as ByteString, entry);
}

/** An entry on its way into the tree. */
interface Found {
  readonly name: string;
  readonly path: string;
  readonly status: EntryStatus;
}

function addNode(scan: Scan, open: Open, found: Found, stack: Open[]): Entry | undefined {
  const { name, status } = found;
  const type = status.mode >> 12;
  if (type === DIR) return enterDirectory(scan, open, found, stack);
  if ((type === CHR || type === BLK) && scan.options.skipDevices === true) return undefined;
  if (status.size > MAX_EXTERNAL_SIZE) throw new FormatError('external-size', 'the file is larger than an image can say');
  const more: Partial<Node> = type === LNK ? { target: readLinkBytesAt(open.fd, name) as ByteString } : {};
  const isPending = type === REG && status.size > 0n;
  if (!isPending) more.xattrs = scan.xattrs.ofEntry(open.fd, name);
  const node = nodeOf(status, scan.options, more);
  if (isPending) scan.take({ directory: open.fd, name, path: found.path, status, node });
  rememberLinked(scan, status, node);
  return node;
}

function enterDirectory(scan: Scan, open: Open, { name, path, status }: Found, stack: Open[]): Node {
  const child = openDirectory(scan, openEntry(open.fd, name, O_RDONLY | O_DIRECTORY), path);
  stack.push(child);
  if (child.status.state !== status.state) throw changedError(scan.shown + path);
  return child.node;
}

function rememberLinked({ options, inodes }: Scan, status: EntryStatus, node: Node): void {
  // overlayfs makes all its whiteouts names of one inode; to an image each is a thing of its own.
  if (options.hardLinks !== true || status.nlink < 2 || isWhiteout(node)) return;
  node.nlink = status.nlink;
  inodes.set(identityOf(status), node);
}

function nodeOf(status: EntryStatus, { epoch }: ScanOptions, more: Partial<Node>): Node {
  const { mode, uid, gid } = status;
  const time = epoch === true ? {} : { mtime: status.mtime, mtimeNsec: status.mtimeNsec };
  const type = mode >> 12;
  const size = type === DIR || type === LNK ? {} : { size: status.size };
  const rdev = type === CHR || type === BLK ? status.rdev : 0;
  return makeNode({ mode, uid, gid, rdev, ...size, ...time, ...more });
}
