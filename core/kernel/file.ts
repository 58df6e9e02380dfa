import { isErrno } from './error.js';
import { type Fd, OwnedFd } from './fd.js';
import { AT_FDCWD, bind, bindSyscall } from './libc.js';

// All four have the same number on every 64-bit architecture that Linux gained since 5.1.
const openat2Call = bindSyscall('openat2', 437, ['fd', 'path', 'buffer', 'u64']);
/** For paths that may well not be there: asm-generic/errno-base.h ENOENT, EXDEV, ENOTDIR, and errno.h ELOOP. */
const findCall = bindSyscall('openat2', 437, ['fd', 'path', 'buffer', 'u64'], { expected: [2, 18, 20, 40] });
const openatCall = bind('openat', ['fd', 'name', 'int', 'u32']);
const openat2ByteCall = bindSyscall('openat2', 437, ['fd', 'name', 'buffer', 'u64']);
const preadCall = bind('pread', ['fd', 'buffer', 'u64', 'u64'], 'long');
const pwriteCall = bind('pwrite', ['fd', 'buffer', 'u64', 'u64'], 'long');
const readCall = bind('read', ['fd', 'buffer', 'u64'], 'long');
const readlinkatCall = bind('readlinkat', ['fd', 'path', 'buffer', 'u64'], 'long');
const readlinkatByteCall = bind('readlinkat', ['fd', 'name', 'buffer', 'u64'], 'long');
const linkatCall = bind('linkat', ['fd', 'path', 'fd', 'path', 'int']);
const symlinkatCall = bind('symlinkat', ['path', 'fd', 'path']);
const mkdiratCall = bind('mkdirat', ['fd', 'path', 'u32']);
const unlinkatCall = bind('unlinkat', ['fd', 'path', 'int']);
const memfdCreateCall = bind('memfd_create', ['path', 'u32']);
const ftruncateCall = bind('ftruncate', ['fd', 'u64']);

/** asm-generic/fcntl.h, as x86-64 and arm64 have them (arm64 swaps O_DIRECTORY and O_NOFOLLOW with O_DIRECT and O_LARGEFILE). */
const arm = process.arch === 'arm64';
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_ACCMODE = 3;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_NONBLOCK = 0o4000;
export const O_DIRECTORY = arm ? 0o40000 : 0o200000;
export const O_NOFOLLOW = arm ? 0o100000 : 0o400000;
export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;
const O_TMPFILE = 0o20000000 | O_DIRECTORY;

// linux/openat2.h
const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_NO_SYMLINKS = 0x04;
const RESOLVE_BENEATH = 0x08;

const STRICTLY_BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
const FILE_BENEATH = openHow(O_RDONLY | O_NONBLOCK, 0, STRICTLY_BENEATH);

const AT_SYMLINK_FOLLOW = 0x400;
const AT_REMOVEDIR = 0x200;
const MFD_CLOEXEC = 1;
const MFD_NOEXEC_SEAL = 8; // Linux 6.3; where vm.memfd_noexec is 2, no other kind can be made

/** struct open_how */
function openHow(flags: number, mode: number, resolve: number): Buffer {
  const how = Buffer.alloc(24);
  how.writeBigUInt64LE(BigInt(flags | O_CLOEXEC), 0);
  how.writeBigUInt64LE(BigInt(mode), 8);
  how.writeBigUInt64LE(BigInt(resolve), 16);
  return how;
}

function openat2(directory: number, path: string | Uint8Array, flags: number, mode: number, resolve: number): OwnedFd {
  const how = openHow(flags, mode, resolve);
  return OwnedFd.adopt(openat2Call(directory, path, how, how.length));
}

/** Opens a path of the daemon's own choosing (configuration, /proc). */
export function openPath(path: string, flags: number, mode = 0): OwnedFd {
  return openat2(AT_FDCWD, path, flags, mode, 0);
}

/** Opens a path strictly below a directory: no symlink, no `..` out, no mount magic on the way. */
export function openBeneath(directory: Fd, path: string | Uint8Array, flags: number, mode = 0): OwnedFd {
  return openat2(directory.raw, path, flags, mode, STRICTLY_BENEATH);
}

/** As openBeneath, to read without waiting for what may be there instead of a file; the path is given by its bytes (latin1). */
export function openFileBeneath(directory: Fd, path: string): OwnedFd {
  return OwnedFd.adopt(openat2ByteCall(directory.raw, path, FILE_BENEATH, FILE_BENEATH.length));
}

/** Opens one entry of a directory, given by its bytes (latin1), not following a symlink. The name must be a single one, as readNames gives them. */
export function openEntry(directory: Fd, name: string, flags: number): OwnedFd {
  return OwnedFd.adopt(openatCall(directory.raw, name, flags | O_NOFOLLOW | O_CLOEXEC, 0));
}

const BENEATH_PATH = openHow(O_PATH, 0, STRICTLY_BENEATH);

/** As `openBeneath` with O_PATH; undefined if there is no such path. Cheap either way. */
export function findBeneath(directory: Fd, path: string): OwnedFd | undefined {
  const found = findCall(directory.raw, path, BENEATH_PATH, BENEATH_PATH.length);
  return found < 0 ? undefined : OwnedFd.adopt(found);
}

/** Opens a path from a directory of the daemon's own choosing, following what it finds (the magic links of /proc). */
export function openWithin(directory: Fd, path: string, flags: number): OwnedFd {
  return openat2(directory.raw, path, flags, 0, 0);
}

/** A path through /proc for interfaces that take only paths; valid while the descriptor is open. */
export function procPath(fd: Fd): string {
  return `/proc/self/fd/${fd.raw}`;
}

/** Opens again what a descriptor refers to, with other flags (O_PATH to readable, say). */
export function reopen(fd: Fd, flags: number): OwnedFd {
  return openPath(procPath(fd), flags);
}

/** Target of the symlink `name` in a directory, at most 4095 bytes. Throws SyscallError EINVAL if it is none. */
export function readLinkAt(directory: Fd, name: string): string {
  const buffer = Buffer.allocUnsafe(4096);
  return buffer.toString('utf8', 0, readlinkatCall(directory.raw, name, buffer, buffer.length));
}

/** As `readLinkAt`, name and target being bytes (latin1). */
export function readLinkBytesAt(directory: Fd, name: string): string {
  const buffer = Buffer.allocUnsafe(4096);
  return buffer.toString('latin1', 0, readlinkatByteCall(directory.raw, name, buffer, buffer.length));
}

/** Reads at most `length` bytes into the buffer from an offset of the file; returns their number, 0 at its end. */
export function readAt(fd: Fd, buffer: Uint8Array, offset: number, length = buffer.length): number {
  if (length > buffer.length) throw new RangeError('more bytes asked for than the buffer takes');
  return preadCall(fd.raw, buffer, length, offset);
}

/** Reads at the file's own position (pipes, eventfds, inotify, fs contexts). */
export function read(fd: Fd, buffer: Uint8Array): number {
  return readCall(fd.raw, buffer, buffer.length);
}

/** Writes the whole buffer at an offset. */
export function writeAllAt(fd: Fd, buffer: Uint8Array, offset: number): void {
  for (let done = 0; done < buffer.length;) {
    const rest = buffer.subarray(done);
    done += pwriteCall(fd.raw, rest, rest.length, offset + done);
  }
}

/** A file without a name in a directory (O_TMPFILE), readable and writable, mode 0600. */
export function openUnnamed(directory: Fd): OwnedFd {
  return openat2(directory.raw, '.', O_TMPFILE | O_RDWR, 0o600, RESOLVE_BENEATH);
}

/** Gives an unnamed file a name. Throws SyscallError EEXIST if the name is taken. */
export function linkUnnamed(file: Fd, directory: Fd, name: string): void {
  linkatCall(AT_FDCWD, procPath(file), directory.raw, name, AT_SYMLINK_FOLLOW);
}

/** Throws SyscallError EEXIST if the name is taken. */
export function makeSymlinkAt(target: string, directory: Fd, name: string): void {
  symlinkatCall(target, directory.raw, name);
}

export function makeDirectoryAt(directory: Fd, name: string, mode: number): void {
  mkdiratCall(directory.raw, name, mode);
}

export function removeDirectoryAt(directory: Fd, name: string): void {
  unlinkatCall(directory.raw, name, AT_REMOVEDIR);
}

export function unlinkAt(directory: Fd, name: string): void {
  unlinkatCall(directory.raw, name, 0);
}

/** Anonymous memory as a file, close-on-exec, not to be executed. */
export function createMemfd(name: string): OwnedFd {
  try {
    return OwnedFd.adopt(memfdCreateCall(name, MFD_CLOEXEC | MFD_NOEXEC_SEAL));
  } catch (error) {
    if (!isErrno(error, 'EINVAL')) throw error;
    return OwnedFd.adopt(memfdCreateCall(name, MFD_CLOEXEC));
  }
}

/** Sets the length in bytes. */
export function truncate(fd: Fd, size: number): void {
  ftruncateCall(fd.raw, size);
}
