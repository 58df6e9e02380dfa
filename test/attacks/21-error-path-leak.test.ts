// Row 21: one system call of a mount fails, each in turn, on the daemon's own thread and on the worker's: nothing may stay open, mounted or attached.
// Needed: every descriptor has an owner that closes it on every path (`using`, OwnedFd in daemon/*), and what a thread leaves behind
// when it cannot clean up dies with it (worker/worker.ts).
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { settleDown } from '../support/at-rest.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { makeErofs, makeSampleRepository, policyText } from '../support/images.js';
import { PATIENCE, withoutSample } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';
import { type HeldState, heldState } from '../support/state.js';
import { mountImageOnce, mountOnce } from '../support/steps.js';
import { injectFault } from '../support/strace.js';

const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const noSample = withoutSample();
let daemon: Daemon;
let actor: Actor;
let baseline: HeldState;
let policy: string;
let sound = false;

const ways = noSample ? [mountOnce] : [mountOnce, mountImageOnce];
const imageOf = (way: (typeof ways)[number]): string => (way === mountOnce ? image : 'sample');
const mount = (way: (typeof ways)[number]) => actor.do(way as typeof mountOnce, { address: daemon.address, image: imageOf(way) });

before(async () => {
  const digest = makeErofs(image, { 'hello.txt': 'hello\n' });
  const repository = join(scratch.path, 'repo');
  const digests = noSample ? [digest] : [digest, makeSampleRepository(repository)];
  const repositories: Record<string, 'trusted'> = noSample ? {} : { [repository]: 'trusted' };
  policy = policyText({ digests, repositories });
  actor = await startActor({ uid: 4754 });
});
/** After a failure the next test gets a daemon of its own: one leak is one failed test. */
beforeEach(async () => {
  if (sound) return;
  await daemon?.kill();
  daemon = await startDaemon({ policy });
  await takeBaseline();
});
after(async () => {
  await actor?.stop();
  await daemon?.kill();
  scratch.remove();
});

async function takeBaseline(): Promise<void> {
  for (const way of [...ways, ...ways]) await mount(way);
  // The last steps of a request come after its answer, and a thread that was called for may only just be starting.
  await settleDown(daemon.pid);
  baseline = heldState(daemon.pid);
}

async function requireBaseline(what: string): Promise<void> {
  let now: HeldState | undefined;
  const same = (): boolean => {
    now = heldState(daemon.pid);
    return JSON.stringify(summary(now)) === JSON.stringify(summary(baseline));
  };
  await daemon.eventually('the state is as before', same).catch(() => {
    assert.deepEqual(summary(now!), summary(baseline), what);
  });
}

/** Which namespaces they are does not matter (a pair may have been made anew), only how many and what is in them. */
function summary({ fds, mounts, loopDevices, children }: HeldState): unknown {
  const sorted = Object.fromEntries(Object.entries(fds).sort(([a], [b]) => (a < b ? -1 : 1)));
  return { fds: sorted, mounts: Object.values(mounts).sort((a, b) => a - b), loopDevices, children };
}

/**
 * Where the machine is busy a thread more may be called for, and spare threads and namespaces live for a minute: once more, then, from a new
 * baseline. A leak is there again. On a machine so slow that something may end between any two faults each of them gets its own.
 */
async function fromBaseline<T>(attempt: () => Promise<T>): Promise<T> {
  const attemptAnew = async (): Promise<T> => {
    await takeBaseline();
    return await attempt();
  };
  return await (PATIENCE > 1 ? attemptAnew() : attempt()).catch(attemptAnew);
}

/** Has one system call fail while something is mounted, and returns how often it did. */
async function failOnce(syscall: string, nth: number, way: (typeof ways)[number]): Promise<number> {
  const fault = await injectFault(daemon.pid, syscall, 'error=EIO', String(nth));
  await mount(way).catch(() => {});
  await fault.detach();
  assert.equal(daemon.process.exitCode, null, `the service fell over: ${daemon.stderr().slice(-1500)}`);
  const audits = daemon.audits().length;
  await mount(way);
  assert.ok(daemon.audits().length > audits);
  await requireBaseline(`${syscall} number ${nth}, ${way.name}`);
  return fault.hits().length;
}

/** System calls on the way of a mount, and how many of each are made to fail, one at a time. */
const CALLS: readonly (readonly [syscall: string, last: number, first?: number])[] = [
  ['fsopen', 2],
  ['fsconfig', 9],
  ['fsmount', 2],
  ['open_tree', 2],
  ['move_mount', 1],
  ['mount_setattr', 1],
  ['setns', 3],
  ['mkdirat', 1],
  ['umount2', 1],
  ['unlinkat', 1],
  ['statx', 8],
  ['inotify_add_watch', 1],
  // The fifth is Node's own, for the new connection; it takes a failure for the end of the world.
  ['ioctl', 4],
  ['ioctl', 9, 6],
  ['openat2', 3],
  ['linkat', 1],
  ['pread64', 2],
  ['pwrite64', 1],
  ['fcntl', 6],
  ['fstatfs', 1],
  ['sendmsg', 2],
  ['accept4', 1],
  ['getsockopt', 2],
];

for (const [syscall, last, first = 1] of CALLS) {
  test(
    `${syscall} ${first} to ${last} fails: everything is given back, and the next mount works`,
    { timeout: 120_000 * PATIENCE },
    async () => {
      let hits = 0;
      sound = false;
      for (const way of ways) {
        for (let nth = first; nth <= last; nth++) hits += await fromBaseline(() => failOnce(syscall, nth, way));
      }
      assert.ok(hits > 0, `${syscall} was never called`);
      sound = true;
    },
  );
}

test('a user namespace that allows no mount namespace in it: refused, and nothing stays, not even where a thread stands', async () => {
  sound = false;
  await fromBaseline(async () => {
    for (let i = 0; i < 4; i++) {
      const refusing = await startActor({ uid: 4755 });
      await refusing.do(({ fs }) => fs.writeFileSync('/proc/sys/user/max_mnt_namespaces', '0'), null);
      await assert.rejects(refusing.do(mountOnce, { address: daemon.address, image }), { code: 'BadUserNamespace' });
      await refusing.stop();
    }
    await requireBaseline('new stages that came to nothing');
  });
  sound = true;
});

test('no descriptor is left for the pipes of the helper: the caller is told, everything is given back, and the next mount works', async () => {
  sound = false; // a namespace more is parked in the end
  const stranger = await startActor({ uid: 4755 });
  try {
    const mountFirst = () => stranger.do(mountOnce, { address: daemon.address, image });
    // A process without pipes says so later, when nobody may be listening any more.
    const fault = await injectFault(daemon.pid, 'socketpair', 'error=EMFILE', '1');
    await assert.rejects(mountFirst(), { code: 'Failed', message: 'internal error' });
    await fault.detach();
    assert.equal(fault.hits().length, 1);
    assert.equal(daemon.process.exitCode, null, `the service fell over: ${daemon.stderr().slice(-1500)}`);
    // Not all of the state: a thread may have been started meanwhile, and has some.
    const kept = ({ fds, loopDevices, children }: HeldState) =>
      [fds['socket'], fds['user'], fds['/stage'], fds[image], loopDevices, children].join();
    await daemon.eventually('nothing of it is kept', () => kept(heldState(daemon.pid)) === kept(baseline));
    await mountFirst();
  } finally {
    await stranger.stop();
  }
});
