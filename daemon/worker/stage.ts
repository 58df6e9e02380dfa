// The crossing that makes mount flags un-clearable. A mount that the kernel propagates from a mount namespace of the
// initial user namespace (staging) into one that the caller's user namespace owns (parked) arrives there with its
// flags locked, and a clone made there keeps the locks wherever it goes.
import { isErrno } from '../../core/kernel/error.js';
import type { Fd, OwnedFd } from '../../core/kernel/fd.js';
import {
  makeDirectoryAt,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  openPath,
  openWithin,
  removeDirectoryAt,
} from '../../core/kernel/file.js';
import {
  fsconfigCreate,
  fsconfigString,
  fsmount,
  fsopen,
  MNT_DETACH,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  mountSetattr,
  mountSetattrTree,
  moveMount,
  MS_PRIVATE,
  MS_SHARED,
  openTreeClone,
  pivotRoot,
  umount2,
} from '../../core/kernel/mount.js';
import { chdir, CLONE_FS, CLONE_NEWNS, setns, unshare } from '../../core/kernel/namespace.js';

const HARMLESS = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;

/** Opened before the thread leaves the host's mounts: /proc is not visible from a staging namespace. */
let proc: OwnedFd;
let base: OwnedFd;

/** A detached, empty tmpfs that only root can write. */
export function mountTmpfs(): OwnedFd {
  using context = fsopen('tmpfs');
  // Unless told, tmpfs lets everybody write: the owner of a parked namespace would keep files in it, outside all limits.
  fsconfigString(context, 'mode', '0755');
  fsconfigCreate(context);
  return fsmount(context, HARMLESS);
}

function currentNamespace(): OwnedFd {
  return openWithin(proc, 'thread-self/ns/mnt', O_RDONLY);
}

/**
 * Moves this thread, and only it, into an empty mount namespace. Its root holds nothing but the directory `stage`:
 * the owner of a parked namespace can enter it and look around.
 */
export function leaveHostMounts(): void {
  proc = openPath('/proc', O_PATH | O_DIRECTORY);
  unshare(CLONE_FS | CLONE_NEWNS);
  mountSetattrTree('/', { propagation: MS_PRIVATE });
  using root = mountTmpfs();
  makeDirectoryAt(root, 'stage', 0o755);
  mountSetattr(root, { set: MOUNT_ATTR_RDONLY });
  // Any directory will do as the place to pivot on; this one is always there. The old root ends up on top of the new one (pivot_root(2)).
  moveMount(root, null, '/proc');
  chdir('/proc');
  pivotRoot('.', '.');
  umount2('.', MNT_DETACH);
  chdir('/');
  base = currentNamespace();
}

/** Closes what `leaveHostMounts` keeps. */
export function closeBase(): void {
  base.close();
  proc.close();
}

/** A mount namespace and its mount point for mounts on their way, an O_PATH descriptor. */
export interface HeldNamespace {
  readonly namespace: OwnedFd;
  readonly directory: OwnedFd;
}

/** A staging namespace of its own for one user namespace. */
export function newStage(): HeldNamespace {
  setns(base, CLONE_NEWNS);
  unshare(CLONE_NEWNS);
  using stage = mountTmpfs();
  moveMount(stage, null, '/stage');
  mountSetattr(stage, { propagation: MS_SHARED });
  using namespace = currentNamespace();
  const directory = openPath('/stage', O_PATH | O_DIRECTORY);
  return { namespace: namespace.duplicate(), directory };
}

/** The parked namespace of a helper process. Its owner may be in there already: whose the mount point is, is checked after. */
export function holdParked(pid: number): HeldNamespace {
  using namespace = openWithin(proc, `${pid}/ns/mnt`, O_RDONLY);
  const directory = openWithin(proc, `${pid}/root/stage`, O_PATH | O_DIRECTORY);
  return { namespace: namespace.duplicate(), directory };
}

/** The two namespaces and their mount points, which stay the daemon's. */
export interface Stage {
  readonly staging: Fd;
  readonly stagingDirectory: Fd;
  readonly parked: Fd;
  readonly parkedDirectory: Fd;
}

/**
 * Attaches the mount in the staging namespace and clones what arrived in the parked one. Only flags that are set
 * already get locked. The name is fresh and random, and the only path component resolved on the caller's ground, so
 * whatever its owner mounted there before is not in the way; whether the clone is the right mount is checked after.
 */
export function crossOver(mount: Fd, stage: Stage, name: string): OwnedFd {
  setns(stage.staging, CLONE_NEWNS);
  makeDirectoryAt(stage.stagingDirectory, name, 0o700);
  moveMount(mount, stage.stagingDirectory, name);
  setns(stage.parked, CLONE_NEWNS);
  return openTreeClone(stage.parkedDirectory, name);
}

/** Undoes as much of a crossing as was done before it failed. */
export function abandonStage(stage: Stage, name: string): void {
  try {
    setns(stage.staging, CLONE_NEWNS);
    umount2(`/stage/${name}`, MNT_DETACH);
  } catch (error) {
    // EINVAL: it was not attached yet; ENOENT: there is not even the directory.
    if (!isErrno(error, 'EINVAL', 'ENOENT')) throw error;
  }
  try {
    removeDirectoryAt(stage.stagingDirectory, name);
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
  }
}

/** Takes the mount out of the staging namespace again, and so out of the parked one. */
export function clearStage(stage: Stage, name: string): void {
  setns(stage.staging, CLONE_NEWNS);
  umount2(`/stage/${name}`, MNT_DETACH);
  removeDirectoryAt(stage.stagingDirectory, name);
}

/** A thread that waits in a staging namespace would keep it alive after its user namespace is gone. */
export function goHome(): void {
  setns(base, CLONE_NEWNS);
}
