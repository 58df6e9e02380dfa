// Where volumes are mounted, and by whom they are used: in a tmpfs that only podman's mount namespace has. When that namespace ends, so does all
// that is here. A container that podman starts in another one with the path it remembers finds nothing there and fails, where a directory of the
// host would be an empty volume.
import { closeSync, mkdirSync, openSync, readdirSync, rmSync, rmdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isErrno } from '../../core/kernel/error.js';
import type { Fd } from '../../core/kernel/fd.js';
import {
  MNT_DETACH,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  fsconfigCreate,
  fsconfigString,
  fsmount,
  fsopen,
  umount2,
} from '../../core/kernel/mount.js';
import { statAt } from '../../core/kernel/stat.js';
import { attach } from '../attach.js';
import { pause } from '../deadline.js';

const UMOUNT_NOFOLLOW = 8; // linux/fs.h

/** Makes the tmpfs unless it is there. */
export function preparePlaces(base: string): void {
  mkdirSync(base, { recursive: true, mode: 0o700 });
  if (isMountPoint(base)) return;
  using context = fsopen('tmpfs');
  for (const [key, value] of [
    ['source', 'cfsctl'],
    ['mode', '0700'],
    ['size', '16m'],
  ] as const)
    fsconfigString(context, key, value);
  fsconfigCreate(context);
  using mount = fsmount(context, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  attach(mount, base);
}

/** Where the volume is mounted, when it is. */
export function pointOf(base: string, name: string): string {
  return join(base, name, 'data');
}

export function isMounted(base: string, name: string): boolean {
  try {
    return isMountPoint(pointOf(base, name));
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false;
    throw error;
  }
}

function isMountPoint(path: string): boolean {
  const [here, above] = [statAt(null, path), statAt(null, dirname(path))];
  // Before Linux 6.8 there is no id; a mount of the same file system as above is none of ours.
  return here.mountId === 0n ? here.device !== above.device : here.mountId !== above.mountId;
}

/** False if the user was noted before. */
export function addUser(base: string, name: string, id: string): boolean {
  for (const part of ['', 'data', 'users']) mkdirSync(join(base, name, part), { recursive: true, mode: 0o700 });
  try {
    closeSync(openSync(join(base, name, 'users', id), 'wx', 0o600));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

export function attachVolume(base: string, name: string, mount: Fd): void {
  attach(mount, pointOf(base, name));
}

/** The last user takes the mount along. Containers that run keep theirs. */
export function removeUser(base: string, name: string, id: string): void {
  rmSync(join(base, name, 'users', id), { force: true });
  if (usersOf(base, name).length === 0) clearPlace(base, name);
}

export function usersOf(base: string, name: string): string[] {
  try {
    return readdirSync(join(base, name, 'users'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Takes away the mount, if there is one, and all that is noted of it. */
export function clearPlace(base: string, name: string): void {
  if (isMounted(base, name)) unmount(pointOf(base, name));
  rmSync(join(base, name, 'users'), { recursive: true, force: true });
  for (const directory of [pointOf(base, name), join(base, name)])
    try {
      rmdirSync(directory);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
}

const TRIES = 10;
const BETWEEN_TRIES = 20;

/** Busy for a moment: the service closes its own descriptor of a mount it has just handed out. Busy for longer: somebody looks around in it. */
function unmount(point: string): void {
  for (let tries = 0; tries < TRIES; tries += 1) {
    try {
      return umount2(point, UMOUNT_NOFOLLOW);
    } catch (error) {
      if (!isErrno(error, 'EBUSY')) throw error;
      pause(BETWEEN_TRIES);
    }
  }
  umount2(point, MNT_DETACH | UMOUNT_NOFOLLOW);
}
