// Row 31: the owner of a user namespace enters the mount namespace the daemon parks in it, and mounts over what is to come. Needed: the clone is
// compared with the mount that was built, without asking its file system (daemon/parking.ts, core/kernel/stat.ts), the mount point is held by descriptor
// and each name is fresh (worker/stage.ts), threads are bounded for each user (worker/pool.ts).
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';

import type { OwnedFd } from '../../core/kernel/fd.js';
import { O_RDONLY, openPath } from '../../core/kernel/file.js';
import { owningUserns } from '../../core/kernel/namespace.js';
import { sameInode, statFd } from '../../core/kernel/stat.js';
import { type Actor, startActor } from '../support/actor.js';
import { settleDown } from '../support/at-rest.js';
import { type Daemon, openFds, startDaemon } from '../support/daemon.js';
import { makeErofs, policyText } from '../support/images.js';
import type { Kit } from '../support/kit.js';
import { run } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';
import { heldState } from '../support/state.js';
import { mountOnce } from '../support/steps.js';
import { injectFault } from '../support/strace.js';

const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
/** /dev/fuse, which on many hosts everybody may open. */
const fuse = join(scratch.path, 'fuse');
let daemon: Daemon;
let victim: Actor;
let owner: Actor;
let invader: Actor;

before(async () => {
  const digest = makeErofs(image, { 'hello.txt': 'hello\n' });
  run('mknod', '-m', '666', fuse, 'c', '10', '229');
  daemon = await startDaemon({ policy: policyText({ digests: [digest] }) });
  victim = await startActor({ uid: 4768 });
  await victim.do(mountOnce, { address: daemon.address, image });
});
afterEach(async () => {
  await invader?.stop();
  await owner?.stop();
});
after(async () => {
  await victim?.stop();
  await daemon?.kill();
  scratch.remove();
});

interface Invasion {
  readonly fuse: string;
  /** 'list' looks around, the others mount over the stage, or over each new mount point for some seconds. */
  readonly what: 'list' | 'stage-tmpfs' | 'stage-fuse' | 'points-tmpfs' | 'points-fuse' | 'points-bind';
  readonly ms: number;
}

/** Enters the parked namespace, its descriptor 4, and does its worst there. Returns what its root holds, and how many mounts it made. */
function invade({ fs, file, mount, namespace, store }: Kit, { fuse, what, ms }: Invasion) {
  const fuseFds = Array.from({ length: what.endsWith('fuse') ? 64 : 0 }, () => file.openPath(fuse, file.O_RDWR));
  namespace.unshare(namespace.CLONE_FS);
  namespace.setns({ raw: 4 } as never, namespace.CLONE_NEWNS);
  const root = fs.readdirSync('/');
  let made = 0;
  const over = (path: string): void => {
    if (what.endsWith('bind')) {
      const clone = mount.openTreeClone(store['bind'] as never);
      mount.moveMount(clone, null, path);
      clone.close();
    } else {
      const context = mount.fsopen(what.endsWith('fuse') ? 'fuse' : 'tmpfs');
      if (what.endsWith('fuse')) {
        const options = { fd: String(fuseFds.pop()!.raw), rootmode: '40000', user_id: '0', group_id: '0' };
        for (const [key, value] of Object.entries(options)) mount.fsconfigString(context, key, value);
      }
      mount.fsconfigCreate(context);
      const detached = mount.fsmount(context, 0);
      mount.moveMount(detached, null, path);
      detached.close();
      context.close();
    }
    made++;
  };
  if (what.startsWith('stage')) over('/stage');
  if (what.startsWith('points')) {
    const context = mount.fsopen('tmpfs');
    mount.fsconfigCreate(context);
    store['bind'] = mount.fsmount(context, 0);
    const end = Date.now() + ms;
    while (Date.now() < end) {
      for (const name of fs.readdirSync('/stage')) {
        if (what.endsWith('fuse') && fuseFds.length === 0) break;
        try {
          over(`/stage/${name}`);
        } catch {
          // too late
        }
      }
    }
  }
  return { root, made };
}

/** Mounts again and again; counts what it got, and whether any of it was not the image. */
function mountMany(
  { client, file, fs, mount }: Kit,
  { address, image, times }: { address: string; image: string; times: number },
) {
  const result = { right: 0, foreign: 0, refused: 0, slowest: 0 };
  const fd = file.openPath(image, file.O_RDONLY);
  const directory = fs.mkdtempSync('/tmp/cfsmountd-parked-');
  for (let i = 0; i < times; i++) {
    const connection = client.connect({ address, timeoutMs: 30_000 });
    const started = performance.now();
    try {
      const received = connection.mountFile(fd, []).mount;
      mount.moveMount(received, null, directory);
      received.close();
      if (fs.readFileSync(`${directory}/hello.txt`, 'utf8') === 'hello\n') result.right++;
      else result.foreign++;
      mount.umount2(directory, mount.MNT_DETACH);
    } catch (error) {
      if ((error as { code?: string }).code === 'ENOENT') result.foreign++;
      else result.refused++;
    }
    result.slowest = Math.max(result.slowest, performance.now() - started);
    connection.close();
  }
  fd.close();
  fs.rmdirSync(directory);
  return result;
}

const threads = (): number => readdirSync(`/proc/${daemon.pid}/task`).length;

for (const what of ['list', 'stage-tmpfs', 'stage-fuse', 'points-tmpfs', 'points-fuse', 'points-bind'] as const) {
  test(
    `${what}: an answer in time, nothing foreign handed out, nobody else slowed, nothing left`,
    { timeout: 60_000 },
    async () => {
      owner = await startActor({ uid: 4769 });
      await owner.do(mountOnce, { address: daemon.address, image });
      await settleDown(daemon.pid);
      // The invader shares the owner's user namespace: a process that joins it.
      const before = heldState(daemon.pid).fds;
      const threadsBefore = threads();
      invader = await joinNamespace(owner);
      // The invader always wins the race: between the arrival of a mount and its clone lie 20 ms.
      const delay = what.startsWith('points') ? await injectFault(daemon.pid, 'open_tree', 'delay_enter=20000', '1+') : undefined;
      const invasion = invader.do(invade, { fuse, what, ms: 2_500 });
      if (!what.startsWith('points')) await invasion;
      const [mounted, others] = await Promise.all([
        owner.do(mountMany, { address: daemon.address, image, times: what.startsWith('points') ? 60 : 20 }),
        victim.do(mountMany, { address: daemon.address, image, times: 60 }),
      ]);
      const { root, made } = await invasion;
      await delay?.detach();
      if (what !== 'list') assert.ok(made > 0, 'nothing was mounted over anything');
      if (delay) assert.ok(mounted.refused > 0, 'the invader never won the race');
      assert.deepEqual(root, ['stage'], 'the parked namespace holds nothing but the stage');
      assert.equal(mounted.foreign, 0);
      assert.ok(mounted.slowest < 25_000, `answered after ${mounted.slowest} ms`);
      assert.deepEqual([others.right, others.foreign, others.refused], [60, 0, 0]);
      assert.ok(others.slowest < 5_000, `another user waited ${others.slowest} ms`);
      assert.ok(threads() <= threadsBefore + 8, `${threads()} threads`);
      const same = (): boolean => {
        const now = heldState(daemon.pid).fds;
        const kinds = ['/', '/stage', 'user', 'socket'];
        return namespacesHeld(now) <= namespacesHeld(before) && kinds.every((kind) => (now[kind] ?? 0) <= (before[kind] ?? 0));
      };
      await daemon.eventually(`no descriptor is left: ${JSON.stringify(before)}`, same).catch((error: Error) => {
        assert.fail(`${error.message}, now ${JSON.stringify(heldState(daemon.pid).fds)}`);
      });
    },
  );
}

/** Mount namespaces held for callers: each thread, and their number is none of a caller's business, holds one of its own and /proc. */
const namespacesHeld = (fds: Readonly<Record<string, number>>): number => (fds['mnt'] ?? 0) - (fds['/proc'] ?? 0);

/**
 * A second process in an actor's user namespace, holding the mount namespace that the daemon parked there. On many kernels its owner finds
 * it by NS_MNT_GET_NEXT (linux/nsfs.h); where that takes privilege, too, the attack is the same: the test, as root, hands it over.
 */
async function joinNamespace(of: Actor): Promise<Actor> {
  const parked = openParked(of.pid);
  try {
    return await startActor({ uid: 4769, join: of.pid, inherit: [parked.raw] });
  } finally {
    parked.close();
  }
}

function openParked(pid: number): OwnedFd {
  using userns = openPath(`/proc/${pid}/ns/user`, O_RDONLY);
  for (const [fd, target] of openFds(daemon.pid)) {
    if (!target.startsWith('mnt:')) continue;
    const namespace = openPath(`/proc/${daemon.pid}/fd/${fd}`, O_RDONLY);
    using owner = owningUserns(namespace);
    if (sameInode(statFd(owner), statFd(userns))) return namespace;
    namespace.close();
  }
  throw new Error('the daemon holds no parked namespace');
}
