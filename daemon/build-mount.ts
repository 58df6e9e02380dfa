// Builds the mount, all by descriptor: EROFS, idmapped for the caller, and over it the overlay that joins it with the object stores.
// Everything stays detached: if the daemon dies here, the kernel cleans up.
import type { ImageHeader } from '../core/image/superblock.js';
import { isErrno, SyscallError } from '../core/kernel/error.js';
import type { Fd, OwnedFd } from '../core/kernel/fd.js';
import { procPath } from '../core/kernel/file.js';
import { attachLoop } from '../core/kernel/loop.js';
import {
  fsconfigCreate,
  fsconfigFlag,
  fsconfigString,
  fsmount,
  fsopen,
  MOUNT_ATTR_IDMAP,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  mountSetattr,
  openTreeClone,
} from '../core/kernel/mount.js';
import { RequestError } from '../core/wire/errors.js';
import { mountOverlay } from './overlay.js';

/** Set on every mount the daemon makes, the temporary ones too: an image must never open a device with the host's meaning. */
export const ALWAYS = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV;

/** On a layer below an overlay: set-uid files count by the flags of the overlay alone. */
export const LAYER = ALWAYS | MOUNT_ATTR_NOSUID;

export interface Restrictions {
  readonly nosuid: boolean;
  readonly noexec: boolean;
}

export function mountAttributes({ nosuid, noexec }: Restrictions): number {
  return ALWAYS | (nosuid ? MOUNT_ATTR_NOSUID : 0) | (noexec ? MOUNT_ATTR_NOEXEC : 0);
}

function createErofs(source: Fd, header: Pick<ImageHeader, 'type' | 'hasAcl'>, attributes: number): OwnedFd {
  using context = fsopen('erofs');
  fsconfigString(context, 'source', procPath(source));
  fsconfigFlag(context, 'ro');
  if (header.type === 'composefs' && !header.hasAcl) fsconfigFlag(context, 'noacl');
  fsconfigCreate(context);
  return fsmount(context, attributes);
}

/** A detached EROFS mount of an image file, through a loop device where EROFS cannot read the file (tmpfs, overlayfs: ENOTBLK). */
export function mountErofs(image: Fd, header: Pick<ImageHeader, 'type' | 'hasAcl'>, attributes: number): OwnedFd {
  try {
    return createErofs(image, header, attributes);
  } catch (error) {
    if (!isErrno(error, 'ENOTBLK')) throw error;
    using device = attachLoop(image);
    return createErofs(device, header, attributes);
  }
}

/** Makes the mount show the image's ids as ids of the user namespace. */
export function idmap(mount: Fd, userns: Fd): void {
  try {
    mountSetattr(mount, { set: MOUNT_ATTR_IDMAP, userns });
  } catch (error) {
    if (!isErrno(error, 'EINVAL', 'EPERM')) throw error;
    throw new RequestError('BadUserNamespace', 'the user namespace has no id maps', {
      hint: 'write its uid_map and gid_map first (unshare -Urm does)',
      cause: error,
    });
  }
}

export interface MountPlan extends Restrictions {
  readonly image: Fd;
  readonly header: ImageHeader;
  readonly userns: Fd;
  readonly objects: readonly OwnedFd[];
  readonly name: string;
  readonly requireVerity: boolean;
  /** A detached mount of the same image that may be cloned instead of made again. */
  readonly kept?: Fd | undefined;
}

/** The layer of an image as it is kept to be cloned: detached, not idmapped. */
export function mountForKeeping(image: Fd, header: ImageHeader): OwnedFd {
  try {
    return mountErofs(image, header, LAYER);
  } catch (error) {
    throw asRefusal(error);
  }
}

export interface BuiltMount {
  readonly mount: OwnedFd;
  /** The overlay has taken its own copy of this layer: it may be closed whenever there is time. */
  readonly spare?: OwnedFd;
}

/** The idmapped, detached mount of a plan; its flags are set, but not locked yet. */
export function buildMount(plan: MountPlan): BuiltMount {
  const attributes = mountAttributes(plan);
  try {
    if (plan.header.type === 'erofs') return { mount: mountLayer(plan, attributes) };
    const erofs = mountLayer(plan, LAYER);
    try {
      return { mount: mountOverlay({ ...plan, erofs }, attributes), spare: erofs };
    } catch (error) {
      erofs.close();
      throw error;
    }
  } catch (error) {
    throw asRefusal(error);
  }
}

/** The image itself, idmapped: made anew, or cloned from one that was kept. */
export function mountLayer({ image, header, userns, kept }: MountPlan, attributes: number): OwnedFd {
  const mount = kept ? openTreeClone(kept) : mountErofs(image, header, attributes);
  try {
    idmap(mount, userns);
    return mount;
  } catch (error) {
    mount.close();
    throw error;
  }
}

export function asRefusal(error: unknown): unknown {
  if (!(error instanceof SyscallError)) return error;
  if (isErrno(error, 'ENODEV')) {
    return new RequestError('NotSupported', 'this kernel lacks EROFS or overlayfs', {
      cause: error,
      hint: 'modprobe erofs overlay',
    });
  }
  if (error.syscall.startsWith('fsconfig create') && isErrno(error, 'EINVAL', 'EUCLEAN', 'EOPNOTSUPP', 'EIO')) {
    return new RequestError('BadImage', 'the kernel refuses the image', { cause: error });
  }
  return new RequestError('Failed', 'the mount could not be made', { cause: error });
}
