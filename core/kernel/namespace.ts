import { SyscallError } from './error.js';
import { type Fd, OwnedFd } from './fd.js';
import { ioctlBuffer, ioctlNumber } from './ioctl.js';
import { bind, EPERM } from './libc.js';

const setnsCall = bind('setns', ['fd', 'int']);
const unshareCall = bind('unshare', ['int']);
// EPERM: the parent is above what this process may see, the initial namespace's is nothing at all.
const getParent = bind('ioctl', ['fd', 'u64', 'int'], 'int', { expected: [EPERM] });
const chdirCall = bind('chdir', ['path']);

// linux/sched.h
export const CLONE_FS = 0x200;
export const CLONE_NEWNS = 0x20000;
export const CLONE_NEWUSER = 0x10000000;

// linux/nsfs.h
const NS_GET_USERNS = 0xb701;
const NS_GET_PARENT = 0xb702;
const NS_GET_NSTYPE = 0xb703;
const NS_GET_OWNER_UID = 0xb704;
// linux/pidfd.h (Linux 6.11)
const PIDFD_GET_USER_NAMESPACE = 0xff09;

export function setns(namespace: Fd, type: number): void {
  setnsCall(namespace.raw, type);
}

export function unshare(flags: number): void {
  unshareCall(flags);
}

/** Changes the working directory of this thread alone, once it has its own by unshare(CLONE_FS). */
export function chdir(path: string): void {
  chdirCall(path);
}

/** CLONE_NEW* of a namespace descriptor, undefined if it is not one. Asks nsfs, or gets ENOTTY and the like: it cannot hang. */
export function namespaceType(fd: Fd): number | undefined {
  try {
    return ioctlNumber(fd.raw, NS_GET_NSTYPE, 0);
  } catch (error) {
    if (error instanceof SyscallError) return undefined;
    throw error;
  }
}

/** Host uid of the owner of a user namespace. */
export function usernsOwner(userns: Fd): number {
  const uid = Buffer.alloc(4);
  ioctlBuffer(userns.raw, NS_GET_OWNER_UID, uid);
  return uid.readUInt32LE(0);
}

/** The parent of a user namespace; undefined for the initial one, whose parent the kernel does not show. */
export function usernsParent(userns: Fd): OwnedFd | undefined {
  const parent = getParent(userns.raw, NS_GET_PARENT, 0);
  return parent < 0 ? undefined : OwnedFd.adopt(parent);
}

/** The user namespace that owns a namespace. */
export function owningUserns(namespace: Fd): OwnedFd {
  return OwnedFd.adopt(ioctlNumber(namespace.raw, NS_GET_USERNS, 0));
}

/** The user namespace of the process behind a pidfd (Linux 6.11). */
export function usernsOfPidfd(pidfd: Fd): OwnedFd {
  return OwnedFd.adopt(ioctlNumber(pidfd.raw, PIDFD_GET_USER_NAMESPACE, 0));
}
