// Before Linux 6.15 overlayfs takes no detached layers: they are attached for a moment, where nobody else can see them.
import { constants } from 'node:os';

import { SyscallError } from '../../core/kernel/error.js';
import type { Fd, OwnedFd } from '../../core/kernel/fd.js';
import { makeDirectoryAt, O_DIRECTORY, O_PATH, openPath } from '../../core/kernel/file.js';
import { MNT_DETACH, mountSetattrAll, moveMount, MS_PRIVATE, umount2 } from '../../core/kernel/mount.js';
import { sameInode, statFd } from '../../core/kernel/stat.js';
import { LAYER } from '../build-mount.js';
import { mountOverlayOfPaths, type Layers, type PathWay } from '../overlay.js';
import { mountTmpfs } from './stage.js';

const PLACE = '/stage';

/** A caller's store may have brought mounts with it: they are made as harmless as it. One may be over its very root: what the path leads to must be the store. */
function attach(layer: Fd, place: Fd, name: string): string {
  mountSetattrAll(layer, { set: LAYER, propagation: MS_PRIVATE });
  moveMount(layer, place, name);
  const path = `${PLACE}/${name}`;
  using found = openPath(path, O_PATH | O_DIRECTORY);
  if (!sameInode(statFd(found), statFd(layer)))
    throw new SyscallError('move_mount: something else is mounted there', constants.errno.EXDEV);
  return path;
}

/** With all that is attached there. What fails once is tried again: the layers would stay as long as the thread. */
function takeDown(): void {
  try {
    umount2(PLACE, MNT_DETACH);
  } catch {
    umount2(PLACE, MNT_DETACH);
  }
}

/** Joins detached layers in the thread's own mount namespace. They are of no use afterwards: the overlay has copies of them. */
export function joinLayers(way: PathWay, { erofs, objects, ...options }: Layers, attributes: number): OwnedFd {
  using place = mountTmpfs();
  const layers: readonly Fd[] = [erofs, ...objects];
  for (const index of layers.keys()) makeDirectoryAt(place, String(index), 0o700);
  moveMount(place, null, PLACE);
  try {
    const [lower, ...stores] = layers.map((layer, index) => attach(layer, place, String(index)));
    return mountOverlayOfPaths(way, lower!, stores, options, attributes);
  } finally {
    takeDown();
  }
}
