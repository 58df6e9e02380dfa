// What this kernel can do, tried out rather than guessed from its version.
import type { Copies } from './copies.js';
import { SyscallError } from '../core/kernel/error.js';
import type { OwnedFd } from '../core/kernel/fd.js';
import { writeAllAt } from '../core/kernel/file.js';
import { fsconfigString, fsopen, openTreeClone } from '../core/kernel/mount.js';
import { listmount, statmount } from '../core/kernel/mount-info.js';
import { peerPidfd, socketPair } from '../core/kernel/socket.js';
import { measureVerity } from '../core/kernel/verity.js';
import { ALWAYS, mountErofs, mountOverlay } from './build-mount.js';

export const FEATURES = [
  /** EROFS images can be mounted at all. */
  'erofs',
  /** overlayfs takes detached layers by descriptor (Linux 6.15): composefs images can be mounted. */
  'overlay-detached-layers',
  /** A kept superblock can be cloned while detached (Linux 6.15). */
  'clone-detached',
  /** overlayfs checks objects against the image (Linux 6.6). */
  'overlay-verity',
  /** The file system of the state directory has fs-verity. */
  'fs-verity',
  /** statmount(2) (Linux 6.8). */
  'statmount',
  /** SO_PEERPIDFD (Linux 6.5). */
  'peer-pidfd',
] as const;
export type Feature = (typeof FEATURES)[number];

/** The smallest EROFS image: a superblock, and a root directory that holds `.` and `..`. */
export function smallestImage(): Buffer {
  const image = Buffer.alloc(4096);
  image.writeUInt32LE(0xe0f5e1e2, 1024); // magic, linux/fs/erofs/erofs_fs.h
  image.writeUInt8(12, 1024 + 12); // 4096-byte blocks
  image.writeUInt16LE(36, 1024 + 14); // root nid: 36 * 32 = 1152
  image.writeBigUInt64LE(1n, 1024 + 16); // inodes
  image.writeUInt32LE(1, 1024 + 36); // blocks
  image.writeUInt16LE(2 << 1, 1152); // compact inode, inline data
  image.writeUInt16LE(0o040755, 1152 + 4);
  image.writeUInt16LE(2, 1152 + 6); // nlink
  image.writeUInt32LE(27, 1152 + 8); // size: two entries of 12 bytes, names of 1 and 2
  for (const [index, nameOffset] of [24, 25].entries()) {
    const at = 1184 + 12 * index;
    image.writeBigUInt64LE(36n, at);
    image.writeUInt16LE(nameOffset, at + 8);
    image.writeUInt8(2, at + 10); // directory
  }
  image.write('...', 1184 + 24, 'latin1');
  return image;
}

function works(attempt: () => void): boolean {
  try {
    attempt();
    return true;
  } catch (error) {
    if (error instanceof SyscallError) return false;
    throw error;
  }
}

/** Tries everything once, on an image and a directory of the daemon's own. */
export function probeFeatures(copies: Copies): Set<Feature> {
  const features = new Set<Feature>();
  const probe = (feature: Feature, attempt: () => void): void => void (works(attempt) && features.add(feature));
  const { file, done } = copies.create(4096, 0);
  using image = file;
  done();
  writeAllAt(image, smallestImage(), 0);
  let erofs: OwnedFd | undefined;
  probe('erofs', () => (erofs = mountErofs(image, { type: 'erofs', hasAcl: true }, ALWAYS)));
  using held = erofs;
  if (held) {
    const layers = { erofs: held, objects: [copies.directory], name: 'probe', requireVerity: false };
    probe('overlay-detached-layers', () => mountOverlay(layers, ALWAYS).close());
    probe('clone-detached', () => openTreeClone(held).close());
  }
  probe('overlay-verity', () => {
    using context = fsopen('overlay');
    fsconfigString(context, 'verity', 'require');
  });
  if (measureVerity(image).state !== 'unsupported') features.add('fs-verity');
  probe('statmount', () => void statmount(listmount()[0]!));
  const [left, right] = socketPair();
  using _left = left;
  using _right = right;
  using pidfd = peerPidfd(left);
  if (pidfd) features.add('peer-pidfd');
  return features;
}
