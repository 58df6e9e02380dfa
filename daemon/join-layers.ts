// Builds composefs mounts on kernels whose overlayfs wants its layers attached (before Linux 6.15): a thread does it.
import { isErrno } from '../core/kernel/error.js';
import { OwnedFd } from '../core/kernel/fd.js';
import { openTreeClone } from '../core/kernel/mount.js';
import { asRefusal, LAYER, mountAttributes, mountLayer, type BuiltMount, type MountPlan } from './build-mount.js';
import type { Layers, PathWay } from './overlay.js';
import type { WorkerPool } from './worker/pool.js';

const JOIN_TIMEOUT = 10_000;

/** A detached mount of a directory. What cannot be copied is detached already, or of a namespace where the thread cannot take it from. */
function detach(directory: OwnedFd): OwnedFd {
  try {
    return openTreeClone(directory);
  } catch (error) {
    if (!isErrno(error, 'EINVAL')) throw error;
    return directory.duplicate();
  }
}

/** Joins layers by a thread. Takes ownership of the image's; `user` pays for the thread. */
export async function joinByPath(
  workers: WorkerPool,
  way: PathWay,
  { erofs, objects, name, requireVerity }: Layers & { readonly erofs: OwnedFd; readonly objects: readonly OwnedFd[] },
  attributes: number,
  user: number,
): Promise<OwnedFd> {
  const closeAfter = [erofs];
  try {
    for (const store of objects) closeAfter.push(detach(store));
  } catch (error) {
    for (const fd of closeAfter) fd.close();
    throw error;
  }
  const [image, ...stores] = closeAfter.map(({ raw }) => raw);
  const job = { kind: 'join', way, erofs: image!, objects: stores, name, requireVerity, attributes } as const;
  const { mount } = await workers.run(job, { user, timeoutMs: JOIN_TIMEOUT, closeAfter });
  return OwnedFd.adopt(mount);
}

/** What buildMount does for composefs images, there. */
export async function buildByPath(workers: WorkerPool, way: PathWay, plan: MountPlan, user: number): Promise<BuiltMount> {
  try {
    const erofs = mountLayer(plan, LAYER);
    return { mount: await joinByPath(workers, way, { ...plan, erofs }, mountAttributes(plan), user) };
  } catch (error) {
    throw asRefusal(error);
  }
}
