import type { Fd } from './fd.js';
import { procPath } from './file.js';
import { bind } from './libc.js';

// asm-generic/errno.h
const EOPNOTSUPP = 95;
const expected = { expected: [EOPNOTSUPP] };
const flistxattr = bind('flistxattr', ['fd', 'buffer', 'u64'], 'long', expected);
const llistxattr = bind('llistxattr', ['name', 'buffer', 'u64'], 'long', expected);
const fgetxattr = bind('fgetxattr', ['fd', 'buffer', 'buffer', 'u64'], 'long');
const lgetxattr = bind('lgetxattr', ['name', 'buffer', 'buffer', 'u64'], 'long');

// linux/limits.h XATTR_LIST_MAX and XATTR_SIZE_MAX: nothing is longer. Calls do not overlap.
const list = Buffer.allocUnsafeSlow(65_536);
const value = Buffer.allocUnsafeSlow(65_536);

/** Keys and values, each string holding one byte in a character (latin1). */
export type Xattrs = ReadonlyMap<string, string>;

const NONE: Xattrs = new Map();

/** Extended attributes of an open file (not O_PATH): those that listxattr(2) shows to this process. `wanted` leaves keys out unread. */
export function readXattrs(file: Fd, wanted: (key: string) => boolean): Xattrs {
  const length = flistxattr(file.raw, list, list.length);
  return collect(length, wanted, (key) => fgetxattr(file.raw, key, value, value.length));
}

/** Extended attributes of an entry of a directory, given by the bytes of its name (latin1); a symlink's own. Needs /proc. */
export function readXattrsAt(directory: Fd, name: string, wanted: (key: string) => boolean): Xattrs {
  const path = `${procPath(directory)}/${name}`;
  const length = llistxattr(path, list, list.length);
  return collect(length, wanted, (key) => lgetxattr(path, key, value, value.length));
}

function collect(length: number, wanted: (key: string) => boolean, get: (key: Uint8Array) => number): Xattrs {
  if (length <= 0) return NONE;
  const xattrs = new Map<string, string>();
  for (let from = 0, end = 0; from < length; from = end + 1) {
    end = list.indexOf(0, from);
    const key = list.toString('latin1', from, end);
    if (wanted(key)) xattrs.set(key, value.toString('latin1', 0, get(list.subarray(from, end + 1))));
  }
  return xattrs;
}
