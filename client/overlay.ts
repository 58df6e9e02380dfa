// The caller's own writable layer over a received mount. The service never makes one: with its rights, an upper directory would let
// the caller write where it may not.
import { MNT_DETACH, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID } from '../core/kernel/mount.js';
import { fsconfigCreate, fsconfigFd, fsconfigFlag, fsconfigString, fsmount, fsopen, umount2 } from '../core/kernel/mount.js';
import { SyscallError, isErrno } from '../core/kernel/error.js';
import type { Fd, OwnedFd } from '../core/kernel/fd.js';
import { O_DIRECTORY, O_RDONLY, openPath, procPath } from '../core/kernel/file.js';
import { statmountFd } from '../core/kernel/mount-info.js';
import { RequestError } from '../core/wire/errors.js';
import { attachAt, openMountPoint } from './attach.js';

export interface WritableLayer {
  /** Both directories exist, on one file system, and belong to the caller; `workdir` is empty. */
  readonly upperdir: string;
  readonly workdir: string;
}

const RESTRICTIONS = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;

/** Throws `RequestError` BadRequest unless both directories can be opened. */
export function requireWritableLayer({ upperdir, workdir }: WritableLayer): void {
  using _upper = openLayer('--upperdir', upperdir);
  using _work = openLayer('--workdir', workdir);
}

/**
 * Attaches an overlay of the received mount and the caller's own directories at a path; it has the restrictions of the received mount.
 * Throws `RequestError`, nothing attached. The mount's descriptor stays the caller's.
 */
export function attachWritable(mount: Fd, { upperdir, workdir }: WritableLayer, path: string): void {
  using upper = openLayer('--upperdir', upperdir);
  using work = openLayer('--workdir', workdir);
  using directory = openMountPoint(path);
  // Attached, the mount tells its flags and serves as a layer on every kernel; detached ones are taken since Linux 6.15.
  attachAt(mount, directory, path);
  using overlay = stackAndDetach(mount, upper, work);
  attachAt(overlay, directory, path);
}

/** The overlay keeps a clone of the layer: the layer's own place is wanted no longer. */
function stackAndDetach(lower: Fd, upper: Fd, work: Fd): OwnedFd {
  try {
    return stack(lower, upper, work);
  } catch (cause) {
    if (!(cause instanceof SyscallError)) throw cause;
    const hint = 'the directories must be yours, on one file system that is not an overlay itself (ext4, xfs, btrfs, tmpfs)';
    throw new RequestError('Failed', `the writable overlay could not be made: ${cause.message}`, { hint, cause });
  } finally {
    umount2(procPath(lower), MNT_DETACH);
  }
}

function stack(lower: Fd, upper: Fd, work: Fd): OwnedFd {
  using context = fsopen('overlay');
  fsconfigString(context, 'source', 'cfsctl');
  // Without privilege overlayfs may not keep its marks in trusted.*
  fsconfigFlag(context, 'userxattr');
  addLayer(context, 'lowerdir+', lower);
  addLayer(context, 'upperdir', upper);
  addLayer(context, 'workdir', work);
  fsconfigCreate(context);
  return fsmount(context, restrictionsOf(lower));
}

function addLayer(context: Fd, key: string, layer: Fd): void {
  try {
    fsconfigFd(context, key, layer);
  } catch (error) {
    // Before Linux 6.13 a layer has to be a string, and there is no such parameter as a descriptor that is a mere path.
    if (!isErrno(error, 'EINVAL', 'EBADF')) throw error;
    fsconfigString(context, key, procPath(layer));
  }
}

function restrictionsOf(attached: Fd): number {
  try {
    return (statmountFd(attached).attributes & RESTRICTIONS) | MOUNT_ATTR_NODEV;
  } catch (error) {
    // statmount(2) is there since Linux 6.8. Rather too strict than without a restriction the policy set.
    if (isErrno(error, 'ENOSYS')) return MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID;
    throw error;
  }
}

function openLayer(option: string, path: string): OwnedFd {
  try {
    return openPath(path, O_RDONLY | O_DIRECTORY);
  } catch (cause) {
    if (!(cause instanceof SyscallError)) throw cause;
    throw new RequestError('BadRequest', `${option} ${path} cannot be opened as a directory (${cause.code})`, { cause });
  }
}
