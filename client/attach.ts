import { SyscallError, isErrno } from '../core/kernel/error.js';
import type { Fd, OwnedFd } from '../core/kernel/fd.js';
import { O_DIRECTORY, O_PATH, openPath } from '../core/kernel/file.js';
import { moveMount } from '../core/kernel/mount.js';
import { RequestError } from '../core/wire/errors.js';

/** The directory a mount shall be attached at, held open. Symlinks are followed, once. Throws `RequestError` BadRequest. */
export function openMountPoint(path: string): OwnedFd {
  try {
    return openPath(path, O_PATH | O_DIRECTORY);
  } catch (cause) {
    if (!(cause instanceof SyscallError)) throw cause;
    throw new RequestError('BadRequest', `the mount point ${path} ${REASONS[cause.code] ?? `cannot be opened (${cause.code})`}`, {
      hint: 'it must be a directory that exists',
      cause,
    });
  }
}

/** Attaches a detached mount at a path. Throws `RequestError`. The mount's descriptor stays the caller's: close it, or it cannot be unmounted. */
export function attach(mount: Fd, path: string): void {
  using directory = openMountPoint(path);
  attachAt(mount, directory, path);
}

/** `path` is for the error only. */
export function attachAt(mount: Fd, directory: Fd, path: string): void {
  try {
    moveMount(mount, directory, '.');
  } catch (cause) {
    if (!(cause instanceof SyscallError)) throw cause;
    const hint = isErrno(cause, 'EPERM')
      ? 'run it with a mount namespace of its own: unshare -Urm, or podman unshare'
      : undefined;
    throw new RequestError('Failed', `the mount could not be attached at ${path} (${cause.code})`, { hint, cause });
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  ENOTDIR: 'is not a directory',
  EACCES: 'cannot be reached (permission denied)',
};
