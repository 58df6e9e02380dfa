// What this kernel can do, tried out rather than guessed from its version.
import type { Copies } from './copies.js';
import { SyscallError } from '../core/kernel/error.js';
import type { OwnedFd } from '../core/kernel/fd.js';
import { writeAllAt } from '../core/kernel/file.js';
import { openTreeClone } from '../core/kernel/mount.js';
import { listmount, statmount } from '../core/kernel/mount-info.js';
import { peerPidfd, socketPair } from '../core/kernel/socket.js';
import { measureVerity } from '../core/kernel/verity.js';
import { ALWAYS, mountErofs } from './build-mount.js';
import { joinByPath } from './join-layers.js';
import { mountOverlay, PATH_WAYS, type PathWay } from './overlay.js';
import type { WorkerPool } from './worker/pool.js';

export const FEATURES = [
  /** EROFS images can be mounted at all. */
  'erofs',
  /** overlayfs takes detached layers by descriptor (Linux 6.15). This or one of the next three is needed for composefs images. */
  'overlay-detached-layers',
  /** overlayfs takes attached layers by path, one by one (Linux 6.7). */
  'overlay-layer-paths',
  /** overlayfs takes attached layers by a list of paths, of which some hold data only (Linux 6.5). */
  'overlay-layer-list',
  /** overlayfs takes attached layers by a list of paths, all alike. */
  'overlay-plain-list',
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

const FEATURE_OF_WAY: Readonly<Record<PathWay, Feature>> = {
  paths: 'overlay-layer-paths',
  list: 'overlay-layer-list',
  'plain-list': 'overlay-plain-list',
};

/** The best way to give overlayfs its layers; undefined if it takes none. */
export function layerWay(features: ReadonlySet<Feature>): 'descriptors' | PathWay | undefined {
  if (features.has('overlay-detached-layers')) return 'descriptors';
  return PATH_WAYS.find((way) => features.has(FEATURE_OF_WAY[way]));
}

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

async function works(attempt: () => unknown): Promise<boolean> {
  try {
    await attempt();
    return true;
  } catch (error) {
    if (error instanceof SyscallError) return false;
    throw error;
  }
}

/** Tries everything once, on an image and a directory of the daemon's own. */
export async function probeFeatures(copies: Copies, workers: WorkerPool): Promise<Set<Feature>> {
  const features = new Set<Feature>();
  const probe = async (feature: Feature, attempt: () => unknown): Promise<void> => {
    if (await works(attempt)) features.add(feature);
  };
  const { file, done } = copies.create(4096, 0);
  using image = file;
  done();
  writeAllAt(image, smallestImage(), 0);
  const mountImage = (): OwnedFd => mountErofs(image, { type: 'erofs', hasAcl: true }, ALWAYS);

  async function joinWithCopies(way: 'descriptors' | PathWay, requireVerity: boolean): Promise<void> {
    const layers = { objects: [copies.directory], name: 'probe', requireVerity };
    if (way !== 'descriptors') return (await joinByPath(workers, way, { ...layers, erofs: mountImage() }, ALWAYS, 0)).close();
    using erofs = mountImage();
    mountOverlay({ ...layers, erofs }, ALWAYS).close();
  }

  await probe('erofs', () => mountImage().close());
  if (features.has('erofs')) {
    await probe('overlay-detached-layers', () => joinWithCopies('descriptors', false));
    for (const way of PATH_WAYS) {
      if (!layerWay(features)) await probe(FEATURE_OF_WAY[way], () => joinWithCopies(way, false));
    }
    const way = layerWay(features);
    if (way) await probe('overlay-verity', () => joinWithCopies(way, true));
    await probe('clone-detached', () => {
      using erofs = mountImage();
      openTreeClone(erofs).close();
    });
  }
  if (measureVerity(image).state !== 'unsupported') features.add('fs-verity');
  await probe('statmount', () => statmount(listmount()[0]!));
  const [left, right] = socketPair();
  using _left = left;
  using _right = right;
  using pidfd = peerPidfd(left);
  if (pidfd) features.add('peer-pidfd');
  return features;
}
