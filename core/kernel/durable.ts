// What a careful writer of files needs: bytes on the disk, names in their place, copies that share their blocks.
import type { Fd } from './fd.js';
import { ioctlNumber } from './ioctl.js';
import { bind } from './libc.js';

const fsyncCall = bind('fsync', ['fd']);
const syncfsCall = bind('syncfs', ['fd']);
const renameatCall = bind('renameat', ['fd', 'path', 'fd', 'path']);
const flockCall = bind('flock', ['fd', 'int'], 'int', { expected: [11] }); // EWOULDBLOCK
const fchmodCall = bind('fchmod', ['fd', 'u32']);

const lseekCall = bind('lseek', ['fd', 'u64', 'int'], 'long', { expected: [6, 22] });

const ENXIO = 6; // nothing but a hole up to the end
const SEEK_DATA = 3; // linux/fs.h; EINVAL where a file system does not know it
const FICLONE = 0x4004_9409; // linux/fs.h
const LOCK = { shared: 1 | 4, exclusive: 2 | 4 }; // asm-generic/fcntl.h, with LOCK_NB

/** Waits until the file, with its size, or the directory with its names is on the disk. */
export function fsync(file: Fd): void {
  fsyncCall(file.raw);
}

/** Waits until all that was written to the file system of a descriptor is on the disk; one such call is cheaper than a few fsync calls. */
export function syncfs(file: Fd): void {
  syncfsCall(file.raw);
}

/** Gives what has one name another, in place of what had that. */
export function renameAt(from: Fd, name: string, to: Fd, newName: string): void {
  renameatCall(from.raw, name, to.raw, newName);
}

/** Takes the lock of an open file or directory, without waiting, until its last descriptor is closed; false if somebody else has one that goes against it. */
export function tryLock(file: Fd, kind: keyof typeof LOCK = 'exclusive'): boolean {
  return flockCall(file.raw, LOCK[kind]) === 0;
}

/** Sets permissions, whatever the umask. */
export function changeMode(file: Fd, mode: number): void {
  fchmodCall(file.raw, mode);
}

/** Makes an empty file share the blocks of another, as it is at this moment. Throws SyscallError EOPNOTSUPP, EXDEV, EINVAL or ENOTTY where that cannot be. */
export function cloneFile(source: Fd, target: Fd): void {
  ioctlNumber(target.raw, FICLONE, source.raw);
}

/** Where the next bytes of a file at or behind an offset are that are no hole; Infinity if there are none. Moves the file's own position. */
export function findData(file: Fd, offset: number): number {
  const found = lseekCall(file.raw, offset, SEEK_DATA);
  return found >= 0 ? found : found === -ENXIO ? Infinity : offset;
}
