import { isErrno, SyscallError } from '../core/kernel/error.js';
import type { Fd, OwnedFd } from '../core/kernel/fd.js';
import { O_RDONLY, openPath } from '../core/kernel/file.js';
import { CLONE_NEWUSER, namespaceType, usernsOfPidfd, usernsOwner, usernsParent } from '../core/kernel/namespace.js';
import { peerPidfd } from '../core/kernel/socket.js';
import { statFd } from '../core/kernel/stat.js';
import { RequestError } from '../core/wire/errors.js';
import { statCallerFd } from './descriptors.js';

/** A user namespace that is the caller's own: it, or an ancestor of it below the initial one, is owned by the caller's uid. */
export interface CallerUserns {
  readonly fd: OwnedFd;
  /** Inode number of the namespace, its identity for logs and lists. */
  readonly inode: bigint;
  /**
   * Host uid that pays for mounts in it: the owner of the outermost namespace around it that is not root's. A user who acts under
   * many subordinate ids is one user.
   */
  readonly payer: number;
}

// The kernel nests user namespaces 33 deep (kernel/user_namespace.c).
const MAX_DEPTH = 40;

let namespaceDevice: bigint | undefined;

/** By its device, which is the kernel's word: an ioctl would be answered by whoever is behind the descriptor, a FUSE server perhaps. */
function isNamespaceFile(fd: Fd): boolean {
  const { device } = statCallerFd(fd, 'userns');
  if (namespaceDevice === undefined) {
    using own = openPath('/proc/self/ns/user', O_RDONLY);
    namespaceDevice = statFd(own).device;
  }
  return device === namespaceDevice;
}

/** Owner uids from the namespace itself outwards, without the initial namespace. */
function ownersOutwards(userns: Fd): number[] {
  const owners: number[] = [];
  const held: OwnedFd[] = [];
  try {
    let current: Fd = userns;
    for (let depth = 0; depth < MAX_DEPTH; depth++) {
      const parent = usernsParent(current);
      if (!parent) return owners;
      held.push(parent);
      owners.push(usernsOwner(current));
      current = parent;
    }
    throw new RequestError('BadUserNamespace', 'the user namespace is nested too deeply');
  } finally {
    for (const fd of held) fd.close();
  }
}

/** Who pays for work in a user namespace: see CallerUserns. */
function payerIn(owners: readonly number[], uid: number): number {
  return owners.findLast((owner) => owner !== 0) ?? uid;
}

/** Pays for all whose namespace is gone before it was seen. A number that no user has: (uid_t) -1 is invalid. */
const NOBODY_KNOWN = 0xffff_ffff;

/** Who pays for what a peer asks without naming a user namespace: the kernel tells which one it lives in (Linux 6.11), else it is its uid. */
export function payerOfPeer(socket: Fd, uid: number): number {
  try {
    using userns = usernsOfPeer(socket);
    return userns ? payerIn(ownersOutwards(userns), uid) : uid;
  } catch (error) {
    if (error instanceof SyscallError) return NOBODY_KNOWN; // it has gone
    throw error;
  }
}

/** Undefined where the kernel cannot tell. Throws `SyscallError` if the peer has gone. */
function usernsOfPeer(socket: Fd): OwnedFd | undefined {
  using pidfd = peerPidfd(socket);
  try {
    return pidfd && usernsOfPidfd(pidfd);
  } catch (error) {
    if (isErrno(error, 'ENOTTY', 'EINVAL', 'EOPNOTSUPP')) return undefined;
    throw error;
  }
}

/**
 * Checks that the descriptor is a user namespace of the caller. Anyone can get a descriptor of anyone's namespace (/proc), and a
 * mount made for another's would be under the other's control.
 */
export function requireOwnUserns(fd: OwnedFd, callerUid: number): CallerUserns {
  if (!isNamespaceFile(fd) || namespaceType(fd) !== CLONE_NEWUSER) {
    throw new RequestError('BadUserNamespace', 'userns is not a descriptor of a user namespace', {
      hint: 'pass an open /proc/self/ns/user',
    });
  }
  fd.closeHere();
  const owners = ownersOutwards(fd);
  if (owners.length === 0) {
    throw new RequestError('BadUserNamespace', "userns is the host's own user namespace", {
      hint: 'call from inside a user namespace of your own, for example: unshare -Urm or podman unshare',
    });
  }
  if (!owners.includes(callerUid)) {
    throw new RequestError('BadUserNamespace', `the user namespace does not belong to uid ${callerUid}`, {
      hint: 'pass a user namespace that you made',
    });
  }
  return { fd, inode: statFd(fd).inode, payer: payerIn(owners, callerUid) };
}
