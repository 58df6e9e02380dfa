// The new mount API. Bindings keep the kernel's names; see fsopen(2), fsconfig(2), fsmount(2), open_tree(2),
// move_mount(2), mount_setattr(2).
import { SyscallError } from './error.js';
import { type Fd, OwnedFd } from './fd.js';
import { read } from './file.js';
import { AT_FDCWD, bind, bindSyscall } from './libc.js';

// glibc has had functions for these since 2.36, so they are called by number: the same on all architectures.
const openTreeCall = bindSyscall('open_tree', 428, ['fd', 'path', 'u32']);
const moveMountCall = bindSyscall('move_mount', 429, ['fd', 'path', 'fd', 'path', 'u32']);
const fsopenCall = bindSyscall('fsopen', 430, ['path', 'u32']);
const fsconfigCall = bindSyscall('fsconfig', 431, ['fd', 'u32', 'path?', 'path?', 'int']);
const fsmountCall = bindSyscall('fsmount', 432, ['fd', 'u32', 'u32']);
const mountSetattrCall = bindSyscall('mount_setattr', 442, ['fd', 'path', 'u32', 'buffer', 'u64']);
const umount2Call = bind('umount2', ['path', 'int']);
const pivotRootCall = bindSyscall('pivot_root', process.arch === 'arm64' ? 41 : 155, ['path', 'path']);

// linux/mount.h
export const MOUNT_ATTR_RDONLY = 0x1;
export const MOUNT_ATTR_NOSUID = 0x2;
export const MOUNT_ATTR_NODEV = 0x4;
export const MOUNT_ATTR_NOEXEC = 0x8;
export const MOUNT_ATTR_IDMAP = 0x100000;
export const MS_PRIVATE = 1 << 18;
export const MS_SHARED = 1 << 20;
export const MNT_DETACH = 2;
const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const FSCONFIG_SET_FLAG = 0;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_SET_FD = 5;
const FSCONFIG_CMD_CREATE = 6;
const OPEN_TREE_CLONE = 1;
const OPEN_TREE_CLOEXEC = 0o2000000;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const AT_EMPTY_PATH = 0x1000;
const AT_RECURSIVE = 0x8000;

export function fsopen(type: string): OwnedFd {
  return OwnedFd.adopt(fsopenCall(type, FSOPEN_CLOEXEC));
}

/** What the kernel wrote to the log of an fs context, one message an item, oldest first ("e erofs: cannot …"). */
export function readContextLog(context: Fd): string[] {
  const messages: string[] = [];
  const buffer = Buffer.alloc(8192);
  while (messages.length < 32) {
    try {
      messages.push(buffer.toString('utf8', 0, read(context, buffer)).trimEnd());
    } catch {
      break; // ENODATA: read to the end
    }
  }
  return messages;
}

function configure(context: Fd, command: number, key: string | null, value: string | null, aux: number): void {
  try {
    fsconfigCall(context.raw, command, key, value, aux);
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    throw new SyscallError(`fsconfig ${key ?? 'create'}`, error.errno, readContextLog(context));
  }
}

export function fsconfigFlag(context: Fd, key: string): void {
  configure(context, FSCONFIG_SET_FLAG, key, null, 0);
}

export function fsconfigString(context: Fd, key: string, value: string): void {
  configure(context, FSCONFIG_SET_STRING, key, value, 0);
}

/** Gives a layer by descriptor (overlayfs, Linux 6.13; detached mounts, 6.15). */
export function fsconfigFd(context: Fd, key: string, value: Fd): void {
  configure(context, FSCONFIG_SET_FD, key, null, value.raw);
}

export function fsconfigCreate(context: Fd): void {
  configure(context, FSCONFIG_CMD_CREATE, null, null, 0);
}

/** A detached mount of the created superblock. `attributes`: MOUNT_ATTR_*, set before anybody can use it. */
export function fsmount(context: Fd, attributes: number): OwnedFd {
  return OwnedFd.adopt(fsmountCall(context.raw, FSMOUNT_CLOEXEC, attributes));
}

/** A detached copy of the mount at `path` below a descriptor, or of the descriptor's own mount ('' ; if itself detached, Linux 6.15). */
export function openTreeClone(at: Fd, path = ''): OwnedFd {
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (path === '' ? AT_EMPTY_PATH : 0);
  return OwnedFd.adopt(openTreeCall(at.raw, path, flags));
}

/** As `openTreeClone`, with all mounts below it. */
export function openTreeCloneAll(at: Fd): OwnedFd {
  return OwnedFd.adopt(openTreeCall(at.raw, '', OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE));
}

/** Attaches a detached mount at a path below a directory, or at an absolute path. */
export function moveMount(mount: Fd, directory: Fd | null, path: string): void {
  moveMountCall(mount.raw, '', directory?.raw ?? AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH);
}

export interface MountAttributes {
  readonly set?: number;
  readonly clear?: number;
  /** MS_PRIVATE, MS_SHARED, … */
  readonly propagation?: number;
  /** The user namespace whose maps an idmapped mount takes (with MOUNT_ATTR_IDMAP). */
  readonly userns?: Fd;
}

function encodeMountAttr(attributes: MountAttributes): Buffer {
  const attr = Buffer.alloc(32); // struct mount_attr
  attr.writeBigUInt64LE(BigInt(attributes.set ?? 0), 0);
  attr.writeBigUInt64LE(BigInt(attributes.clear ?? 0), 8);
  attr.writeBigUInt64LE(BigInt(attributes.propagation ?? 0), 16);
  attr.writeBigUInt64LE(BigInt(attributes.userns?.raw ?? 0), 24);
  return attr;
}

/** Changes the attributes of the mount a descriptor refers to. */
export function mountSetattr(mount: Fd, attributes: MountAttributes): void {
  const attr = encodeMountAttr(attributes);
  mountSetattrCall(mount.raw, '', AT_EMPTY_PATH, attr, attr.length);
}

/** Changes the attributes of the mount at a path and of all mounts below it. */
export function mountSetattrTree(path: string, attributes: MountAttributes): void {
  const attr = encodeMountAttr(attributes);
  mountSetattrCall(AT_FDCWD, path, AT_RECURSIVE, attr, attr.length);
}

export function umount2(path: string, flags: number): void {
  umount2Call(path, flags);
}

export function pivotRoot(newRoot: string, oldRoot: string): void {
  pivotRootCall(newRoot, oldRoot);
}
