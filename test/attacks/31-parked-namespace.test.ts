// Row 31: the owner of a user namespace enters the mount namespace the daemon parks in it, and mounts over what is to come. Needed: the clone is
// compared with the mount that was built, without asking its file system (daemon/parking.ts, core/kernel/stat.ts), the mount point is held by descriptor
// and each name is fresh (worker/stage.ts), threads are bounded for each user, and have done with a job's descriptors before these are given up
// (worker/pool.ts).
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { settleDown } from '../support/at-rest.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { makeErofs, policyText } from '../support/images.js';
import type { Kit } from '../support/kit.js';
import { PATIENCE, run } from '../support/machine.js';
import { joinParked } from '../support/parked.js';
import { makeScratch } from '../support/scratch.js';
import { heldState } from '../support/state.js';
import { mountOnce } from '../support/steps.js';
import { injectFault, traceCalls } from '../support/strace.js';

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
    try {
      mount.openTreeClone(store['bind'] as never).close();
    } catch {
      // Before Linux 6.15 what is attached nowhere has no clone; the stage has one.
      store['bind'] = file.openPath('/stage', file.O_PATH | file.O_DIRECTORY);
    }
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
  { address, image, times, timeoutMs }: { address: string; image: string; times: number; timeoutMs: number },
) {
  const result = { right: 0, foreign: 0, refused: 0, slowest: 0 };
  const fd = file.openPath(image, file.O_RDONLY);
  const directory = fs.mkdtempSync('/tmp/cfsmountd-parked-');
  for (let i = 0; i < times; i++) {
    const connection = client.connect({ address, timeoutMs });
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

const TIMEOUT_MS = 30_000 * PATIENCE;

const threads = (): number => readdirSync(`/proc/${daemon.pid}/task`).length;

for (const what of ['list', 'stage-tmpfs', 'stage-fuse', 'points-tmpfs', 'points-fuse', 'points-bind'] as const) {
  test(
    `${what}: an answer in time, nothing foreign handed out, nobody else slowed, nothing left`,
    { timeout: 60_000 * PATIENCE },
    async () => {
      owner = await startActor({ uid: 4769 });
      await owner.do(mountOnce, { address: daemon.address, image });
      await settleDown(daemon.pid);
      // The invader shares the owner's user namespace: a process that joins it.
      const before = heldState(daemon.pid).fds;
      const threadsBefore = threads();
      invader = await joinParked(daemon.pid, owner, 4769);
      // The invader always wins the race: between the arrival of a mount and its clone lie 20 ms.
      const delay = what.startsWith('points')
        ? await injectFault(daemon.pid, 'open_tree', `delay_enter=${20_000 * PATIENCE}`, '1+')
        : undefined;
      const invasion = invader.do(invade, { fuse, what, ms: 2_500 * PATIENCE });
      if (!what.startsWith('points')) await invasion;
      const [mounted, others] = await Promise.all([
        owner.do(mountMany, {
          address: daemon.address,
          image,
          times: what.startsWith('points') ? 60 : 20,
          timeoutMs: TIMEOUT_MS,
        }),
        victim.do(mountMany, { address: daemon.address, image, times: 60, timeoutMs: TIMEOUT_MS }),
      ]);
      const { root, made } = await invasion;
      await delay?.detach();
      if (what !== 'list') assert.ok(made > 0, 'nothing was mounted over anything');
      if (delay) assert.ok(mounted.refused > 0, 'the invader never won the race');
      assert.deepEqual(root, ['stage'], 'the parked namespace holds nothing but the stage');
      assert.equal(mounted.foreign, 0);
      assert.ok(mounted.slowest < 25_000 * PATIENCE, `answered after ${mounted.slowest} ms`);
      assert.deepEqual([others.right, others.foreign, others.refused], [60, 0, 0]);
      assert.ok(others.slowest < 5_000 * PATIENCE, `another user waited ${others.slowest} ms`);
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

/** Has the daemon keep as many pairs of namespaces for a caller as it keeps for one, and makes ready for one more. */
async function fillPairs(
  { client, file, raw, rawCall, store }: Kit,
  { socket, image, pairs }: { socket: string; image: string; pairs: number },
) {
  const { spawn } = await import('node:child_process');
  const children = Array.from({ length: pairs }, () => spawn('unshare', ['-Ur', 'sh', '-c', 'echo; read _'], { stdio: 'pipe' }));
  await Promise.all(children.map((child) => new Promise((resolve) => child.stdout.once('data', resolve))));
  const namespaces = [client.ownUserns(), ...children.map(({ pid }) => file.openPath(`/proc/${pid}/ns/user`, file.O_RDONLY))];
  const fd = file.openPath(image, file.O_RDONLY);
  const call = rawCall.encodeCall({ member: 'MountFile', signature: 'hahha{sv}', body: [0, [], 1, []], fds: [fd, fd] });
  const connections = namespaces.map(() => raw.connectAuthenticated(socket));
  const receive = (i: number): string => {
    const answer = connections[i]!.receive(20_000);
    if (answer === null || answer === 'timeout') return String(answer);
    return /Error\.(\w+)/.exec(answer.bytes.toString('latin1'))?.[1] ?? 'mounted';
  };
  const ask = (i: number): void => connections[i]!.send(call, [fd, namespaces[i]!]);
  const result: string[] = [];
  for (let i = 0; i < pairs; i++) {
    ask(i);
    result.push(receive(i));
  }
  store['ask'] = ask;
  store['receive'] = receive;
  return result;
}

test('a pair of namespaces whose stage takes its time to be cleared is not given up meanwhile', async () => {
  const pairs = 16;
  owner = await startActor({ uid: 4769 });
  const filled = await owner.do(fillPairs, { socket: daemon.socket, image, pairs });
  assert.deepEqual(filled, Array(pairs).fill('mounted'));
  await settleDown(daemon.pid);
  // As with tens of thousands of copies of the stage in the hands of its owner: a mount that is taken down there is in all of them.
  const calls = ['setns', 'mkdirat', 'umount2', 'unlinkat'];
  const trace = await traceCalls(daemon.pid, calls, [`umount2:delay_enter=${800_000 * Math.min(PATIENCE, 5)}:when=1`]);
  const outcomes = await owner.do(
    ({ store }, { pairs }) => {
      const { ask, receive } = store as Record<string, (i: number) => string>;
      // All others are in use, and the first is not, once its mount has been handed out: it would have to make room for the last.
      for (let i = 0; i < pairs; i++) ask!(i);
      const first = receive!(0);
      ask!(pairs);
      return { first, last: receive!(pairs), others: Array.from({ length: pairs - 1 }, (_, i) => receive!(i + 1)) };
    },
    { pairs },
  );
  await settleDown(daemon.pid);
  const made = [...(await trace.finish()).values()].flat();
  assert.deepEqual(outcomes, { first: 'mounted', last: 'QuotaExceeded', others: Array(pairs - 1).fill('mounted') });
  assert.ok(made.filter((call) => call.startsWith('umount2(')).length >= pairs);
  // Of numbers that were closed, or somebody else's by then.
  assert.deepEqual(
    made.filter((call) => call.includes('= -1 ')),
    [],
  );
});
