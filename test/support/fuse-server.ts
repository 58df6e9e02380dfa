// A process that serves a file system to others in its user namespace.
import { join } from 'node:path';

import { type Actor, type ActorOptions, startActor } from './actor.js';
import type { FuseBehaviour, FuseChange, FuseMount } from './fuse.js';
import { run } from './machine.js';

export interface FuseServer {
  /** Serves the file; others join its user namespace (`join: server.actor.pid`). Stop it before, or with, those that use the file. */
  readonly actor: Actor;
  /** Where others in the same user namespace find the file. */
  readonly path: string;
  behave(change: FuseChange): Promise<void>;
  /** Requests that wait for an answer. */
  waiting(): Promise<number>;
}

/** `directory`: one that everybody may enter. `overlaid`: see mountFuse. */
export async function startFuse(
  options: ActorOptions,
  directory: string,
  behaviour: FuseBehaviour,
  overlaid = false,
): Promise<FuseServer> {
  const device = join(directory, `fuse-${options.uid}`);
  run('mknod', '-m', '666', device, 'c', '10', '229');
  const actor = await startActor(options);
  try {
    const path = await actor.do(
      async ({ fuse, store }, { device, directory, behaviour, overlaid }) => {
        const mount = await fuse.mountFuse(device, directory, behaviour, overlaid);
        store['fuse'] = mount;
        return mount.path;
      },
      { device, directory, behaviour, overlaid },
    );
    return {
      actor,
      path: `/proc/${actor.pid}/root${path}`,
      behave: (change) => actor.do(({ store }, given) => (store['fuse'] as FuseMount).behave(given), change),
      waiting: () => actor.do(({ store }) => (store['fuse'] as FuseMount).waiting(), null),
    };
  } catch (error) {
    await actor.stop();
    throw error;
  }
}
