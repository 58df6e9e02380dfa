import type { Fd } from './fd.js';
import { bind } from './libc.js';

const getdents64 = bind('getdents64', ['fd', 'buffer', 'u64'], 'long');

// struct linux_dirent64: the record's length, and where its name starts.
const RECLEN = 16;
const NAME = 19;

const buffer = Buffer.allocUnsafeSlow(65_536);

/** Names in an open directory from its current position on, without `.` and `..`, in the file system's order; one byte in a character (latin1). */
export function readNames(directory: Fd): string[] {
  const names: string[] = [];
  for (;;) {
    const length = getdents64(directory.raw, buffer, buffer.length);
    if (length === 0) return names;
    for (let at = 0; at < length; at += buffer.readUInt16LE(at + RECLEN)) {
      const name = buffer.toString('latin1', at + NAME, buffer.indexOf(0, at + NAME));
      if (name !== '.' && name !== '..') names.push(name);
    }
  }
}
