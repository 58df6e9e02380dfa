// What a directory tree looks like to whoever reads it, entry by entry.
import { createHash } from 'node:crypto';
import { closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync, type BigIntStats } from 'node:fs';
import { join } from 'node:path';

import { bind } from '../../core/kernel/libc.js';

const llistxattr = bind('llistxattr', ['path', 'buffer', 'u64'], 'long');
const lgetxattr = bind('lgetxattr', ['path', 'path', 'buffer', 'u64'], 'long');

export interface TreeEntry {
  readonly type: 'file' | 'directory' | 'symlink' | 'fifo' | 'device' | 'socket';
  /** Octal, without the type. */
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  /** Not for directories: their size is the file system's own affair. */
  readonly size?: string;
  readonly mtimeNs: string;
  readonly target?: string;
  /** Extended attributes of the namespace "user", values in hex. */
  readonly xattrs?: Readonly<Record<string, string>>;
  /** Of the contents; "EACCES" if they may not be read. */
  readonly sha256?: string;
}

/** By path from the root, which is "."; in the order of the names. */
export type Tree = Record<string, TreeEntry>;

function typeOf(status: BigIntStats): TreeEntry['type'] {
  if (status.isDirectory()) return 'directory';
  if (status.isSymbolicLink()) return 'symlink';
  if (status.isFIFO()) return 'fifo';
  if (status.isSocket()) return 'socket';
  return status.isFile() ? 'file' : 'device';
}

function readUserXattrs(path: string): Record<string, string> | undefined {
  const list = Buffer.alloc(65536);
  const names = list.toString('utf8', 0, llistxattr(path, list, list.length)).split('\0');
  const users = names.filter((name) => name.startsWith('user.')).sort();
  if (users.length === 0) return undefined;
  const value = Buffer.alloc(65536);
  return Object.fromEntries(users.map((name) => [name, value.toString('hex', 0, lgetxattr(path, name, value, value.length))]));
}

function hashFile(path: string): string {
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(1024 * 1024);
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EACCES') return 'EACCES';
    throw error;
  }
  try {
    for (let length = readSync(fd, buffer); length > 0; length = readSync(fd, buffer)) hash.update(buffer.subarray(0, length));
  } finally {
    closeSync(fd);
  }
  return hash.digest('hex');
}

function describeEntry(path: string): TreeEntry {
  const status = lstatSync(path, { bigint: true });
  const type = typeOf(status);
  const xattrs = readUserXattrs(path);
  return {
    type,
    mode: (Number(status.mode) & 0o7777).toString(8),
    uid: Number(status.uid),
    gid: Number(status.gid),
    mtimeNs: String(status.mtimeNs),
    ...(type === 'directory' ? {} : { size: String(status.size) }),
    ...(type === 'symlink' ? { target: readlinkSync(path) } : {}),
    ...(type === 'file' ? { sha256: hashFile(path) } : {}),
    ...(xattrs === undefined ? {} : { xattrs }),
  };
}

/** Reads everything below a directory, and the directory itself. */
export function describeTree(root: string): Tree {
  const tree: Tree = {};
  function visit(path: string, name: string): void {
    const entry = describeEntry(path);
    tree[name] = entry;
    if (entry.type !== 'directory') return;
    for (const child of readdirSync(path).sort()) visit(join(path, child), name === '.' ? child : `${name}/${child}`);
  }
  visit(root, '.');
  return tree;
}
