// Puts the validated mount of an image where podman looks for the files of its layer, in this mount namespace.
import { readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { tryLock } from '../../core/kernel/durable.js';
import { SyscallError, isErrno } from '../../core/kernel/error.js';
import type { Fd, OwnedFd } from '../../core/kernel/fd.js';
import {
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  makeDirectoryAt,
  openBeneath,
  openPath,
  writeAllAt,
} from '../../core/kernel/file.js';
import {
  MNT_DETACH,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  fsconfigCreate,
  fsconfigString,
  fsmount,
  fsopen,
  mountSetattr,
  openTreeCloneAll,
  umount2,
} from '../../core/kernel/mount.js';
import { RequestError } from '../../core/wire/errors.js';
import { attachAt } from '../attach.js';
import { pause } from '../deadline.js';
import type { MountClient } from '../mount-client.js';
import { type LayerMarker, MARKER, damagedLayer, formatMarker, linkName } from './store-layout.js';

/** Where podman looks for the files of a layer, in the layer's directory. */
const DIFF = 'diff';

/**
 * Takes a lock that goes with this mount namespace, so that two runs do not attach one layer twice. Nobody outside of the user namespace can open what is
 * locked. Throws `RequestError` Timeout.
 */
export function lockMounts(timeoutMs: number): OwnedFd {
  const namespace = openPath('/proc/self/ns/mnt', O_RDONLY);
  const end = performance.now() + timeoutMs;
  while (!tryLock(namespace)) {
    if (performance.now() > end) {
      namespace.close();
      throw new RequestError('Timeout', `another cfsctl was attaching images for ${timeoutMs / 1000} s`, { hint: 'try again' });
    }
    pause(10);
  }
  return namespace;
}

/** True if the layer's directory shows a composefs mount here, and not what the store has in its place. */
export function isAttached(directory: string): boolean {
  const point = escapePoint(join(realpathSync(directory), DIFF));
  // proc_pid_mountinfo(5): … MOUNT-POINT OPTIONS … - TYPE SOURCE …; of several mounts on one point the last is on top.
  const line = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .findLast((each) => each.split(' ')[4] === point);
  return line !== undefined && / - (?:overlay composefs:|erofs )/.test(line);
}

function escapePoint(path: string): string {
  return path.replace(/[ \t\n\\]/g, (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`);
}

/**
 * Mounts the image of a layer, by its digest, and attaches it. At no moment does podman find an empty directory there. Throws `RequestError`, nothing attached.
 */
export function attachLayer(client: MountClient, directory: string, marker: LayerMarker): void {
  const { mount } = client.mountImage(marker.image, { digest: marker.image });
  using received = mount;
  try {
    using covered = coverWith(received, directory, marker);
    using point = openPath(directory, O_PATH | O_DIRECTORY);
    attachAt(covered, point, directory);
  } catch (cause) {
    if (!(cause instanceof SyscallError)) throw cause;
    throw new RequestError('Failed', `the image could not be attached at ${directory}: ${cause.message}`, { cause });
  }
}

/** What is to be seen in the place of a layer's directory, the image mounted in it. A detached mount takes no other: it is put together where nobody looks. */
function coverWith(image: Fd, directory: string, marker: LayerMarker): OwnedFd {
  const staging = join(directory, 'empty');
  using point = openStaging(directory, staging);
  using cover = makeCover(marker);
  attachAt(cover, point, staging);
  try {
    using diff = openBeneath(cover, DIFF, O_PATH | O_DIRECTORY);
    attachAt(image, diff, staging);
    mountSetattr(cover, { set: MOUNT_ATTR_RDONLY });
    return openTreeCloneAll(cover);
  } finally {
    umount2(staging, MNT_DETACH);
  }
}

function openStaging(directory: string, staging: string): OwnedFd {
  try {
    return openPath(staging, O_PATH | O_DIRECTORY);
  } catch (cause) {
    if (!isErrno(cause, 'ENOENT', 'ENOTDIR')) throw cause;
    throw damagedLayer(directory, `the directory ${staging} is missing`, cause);
  }
}

/** True if the service said that the caller may not have the image. */
export function isRefusal(error: unknown): error is RequestError {
  return error instanceof RequestError && (error.code === 'NotTrusted' || error.code === 'NotAuthorized');
}

/** Takes the mounts of a layer away here; containers that run keep them. Throws `RequestError`. */
export function detachLayer(directory: string): void {
  try {
    umount2(directory, MNT_DETACH);
  } catch (cause) {
    if (!(cause instanceof SyscallError)) throw cause;
    throw new RequestError('Failed', `${directory} cannot be unmounted here: ${cause.message}`, { cause });
  }
}

/** A small file system with what podman looks for in the directory of a layer, all but its files. */
function makeCover({ image, diffId, size }: LayerMarker): OwnedFd {
  using context = fsopen('tmpfs');
  for (const [key, value] of [
    ['source', 'cfsctl'],
    ['mode', '0755'],
    ['size', '65536'],
  ] as const)
    fsconfigString(context, key, value);
  fsconfigCreate(context);
  const cover = fsmount(context, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  for (const name of ['empty', 'merged', 'work', DIFF]) makeDirectoryAt(cover, name, 0o755);
  putText(cover, 'link', linkName(diffId));
  putText(cover, MARKER, formatMarker({ image, diffId, size }));
  return cover;
}

function putText(directory: Fd, name: string, text: string): void {
  using file = openBeneath(directory, name, O_RDWR | O_CREAT | O_EXCL, 0o644);
  writeAllAt(file, Buffer.from(text), 0);
}
