// The mount namespace that the daemon parks in a caller's user namespace, in the hands of its owner.
import type { OwnedFd } from '../../core/kernel/fd.js';
import { O_RDONLY, openPath } from '../../core/kernel/file.js';
import { owningUserns } from '../../core/kernel/namespace.js';
import { sameInode, statFd } from '../../core/kernel/stat.js';
import { type Actor, startActor } from './actor.js';
import { openFds } from './daemon.js';

function openParked(daemon: number, owner: number): OwnedFd {
  using userns = openPath(`/proc/${owner}/ns/user`, O_RDONLY);
  for (const [fd, target] of openFds(daemon)) {
    if (!target.startsWith('mnt:')) continue;
    const namespace = openPath(`/proc/${daemon}/fd/${fd}`, O_RDONLY);
    using ownerOf = owningUserns(namespace);
    if (sameInode(statFd(ownerOf), statFd(userns))) return namespace;
    namespace.close();
  }
  throw new Error('the daemon holds no parked namespace');
}

/**
 * A second process in an actor's user namespace, holding the mount namespace that the daemon parked there as its descriptor 4. On many
 * kernels its owner finds it by NS_MNT_GET_NEXT (linux/nsfs.h); where that takes privilege, too, the attack is the same: the test, as
 * root, hands it over.
 */
export async function joinParked(daemon: number, of: Actor, uid: number): Promise<Actor> {
  using parked = openParked(daemon, of.pid);
  return await startActor({ uid, join: of.pid, inherit: [parked.raw] });
}
