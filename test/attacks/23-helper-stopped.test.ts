// Rows 23, 24 and 25: what runs in the caller's user namespace (core/kernel/park.c) is stopped, killed, traced and robbed by the caller. Needed: a
// time-out for it (daemon/parking.ts), no wait for it on the daemon's own thread, it is never dumpable and holds no host id and no descriptor
// once its namespace stands (park.c), and every descriptor of the daemon is close-on-exec (core/kernel).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';

import { type Actor, type ActorOptions, startActor } from '../support/actor.js';
import { type Daemon, openFds, readStatus, startDaemon } from '../support/daemon.js';
import { buildHunter, endHunt, startHunt } from '../support/hunter.js';
import { makeErofs, policyText } from '../support/images.js';
import { DIST } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';
import { childrenOf, heldState } from '../support/state.js';
import { mountOnce } from '../support/steps.js';

const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const actors: Actor[] = [];
let hunter: string;
let daemon: Daemon;
let victim: Actor;

before(async () => {
  hunter = buildHunter(scratch.path);
  const digest = makeErofs(image, { 'hello.txt': 'hello\n' });
  daemon = await startDaemon({ policy: policyText({ digests: [digest] }) });
  victim = await startActor({ uid: 4763 });
  await victim.do(mountOnce, { address: daemon.address, image });
});
after(async () => {
  await victim?.stop();
  await daemon?.kill();
  scratch.remove();
});
afterEach(async () => {
  await Promise.all(actors.splice(0).map((actor) => actor.stop()));
  await daemon.eventually('no helper is left', () => childrenOf(daemon.pid).length === 0);
});

async function actor(options: ActorOptions): Promise<Actor> {
  const started = await startActor(options);
  actors.push(started);
  return started;
}

/** The first mount in a user namespace, which needs the helper: how it ends, and after how long. */
async function firstMount(who: Actor): Promise<{ outcome: string; ms: number }> {
  const started = performance.now();
  const outcome = await who.do(mountOnce, { address: daemon.address, image }).then(
    () => 'mounted',
    (error: Error & { code?: string }) => error.code ?? error.message,
  );
  return { outcome, ms: performance.now() - started };
}

test(
  'stopped: the caller gets an error in time, nobody else waits, and the next attempt works',
  { timeout: 90_000 },
  async () => {
    for (let attempts = 0; attempts < 25; attempts++) {
      const attacker = await actor({ uid: 4764 });
      await startHunt(attacker, hunter, 'stop');
      const attempt = firstMount(attacker);
      let slowest = 0;
      let served = 0;
      let over = false;
      void attempt.then(() => (over = true));
      while (!over) {
        slowest = Math.max(slowest, await victim.do(mountOnce, { address: daemon.address, image }));
        served++;
      }
      const { outcome, ms } = await attempt;
      await endHunt(attacker);
      assert.ok(ms < 12_000, `answered after ${ms} ms`);
      assert.ok(slowest < 2_000, `${served} mounts of another user meanwhile, the slowest took ${slowest} ms`);
      await daemon.eventually('the helper is gone', () => childrenOf(daemon.pid).length === 0);
      assert.equal((await firstMount(attacker)).outcome, 'mounted');
      await attacker.stop();
      if (outcome === 'mounted') continue; // it was over before the hunter saw it
      assert.equal(outcome, 'Timeout');
      return;
    }
    assert.fail('the helper was never caught');
  },
);

test('killed: the caller gets an error, nothing is left, and the next attempt works', { timeout: 60_000 }, async () => {
  const before = heldState(daemon.pid);
  let caught = 0;
  for (let i = 0; i < 6; i++) {
    const attacker = await actor({ uid: 4765 });
    await startHunt(attacker, hunter, 'kill');
    const { outcome, ms } = await firstMount(attacker);
    const hits = (await endHunt(attacker)).length;
    caught += hits;
    if (hits === 0) continue; // it was over before the hunter saw it
    // Killed after the daemon had what it needs, it changes nothing.
    assert.ok(['BadUserNamespace', 'Failed', 'mounted'].includes(outcome), outcome);
    assert.ok(ms < 8_000, `answered after ${ms} ms`);
    assert.equal((await firstMount(attacker)).outcome, 'mounted');
    await attacker.stop();
  }
  assert.ok(caught > 0, 'the helper was never caught');
  assert.equal(heldState(daemon.pid).children, before.children);
  await victim.do(mountOnce, { address: daemon.address, image });
});

const KINDS = [
  { namespace: 'single', uid: 4766 },
  { namespace: 'many', uid: 4767, subordinate: 800_000 },
] as const;

for (const options of KINDS) {
  test(
    `robbed at the first moment it can be signalled: nothing of it can be had (${options.namespace})`,
    { timeout: 60_000 },
    async () => {
      let caught = 0;
      for (let i = 0; i < 4 && caught === 0; i++) {
        const attacker = await actor(options);
        await startHunt(attacker, hunter, 'inspect');
        await firstMount(attacker);
        for (const { pid, ...abilities } of await endHunt(attacker)) {
          caught++;
          assert.ok(pid > 1);
          for (const [ability, had] of Object.entries(abilities))
            assert.equal(had, 0, `the caller could reach the helper: ${ability}`);
        }
      }
      assert.ok(caught > 0, 'the helper was never caught');
    },
  );

  test(`the helper as it stands in the namespace: ids of the caller's, descriptors 0 and 1 alone (${options.namespace})`, async () => {
    const owner = await actor(options);
    const staging = openSync('/proc/self/ns/mnt', 'r');
    const userns = openSync(`/proc/${owner.pid}/ns/user`, 'r');
    const secret = openSync('/etc/shadow', 'r'); // inherited by mistake, let us say: close-on-exec is not all that protects it
    const child = spawn(join(DIST, 'cfsmountd-park'), [], {
      stdio: ['pipe', 'pipe', 'ignore', staging, userns, secret],
      env: {},
      cwd: '/',
    });
    try {
      await once(child.stdout!, 'data');
      assert.deepEqual([...openFds(child.pid!).keys()], [0, 1]);
      const mapped = new RegExp(`^(${options.uid}\\s*){4}$`);
      assert.match(readStatus(child.pid!, 'Uid'), mapped);
      assert.match(readStatus(child.pid!, 'Gid'), mapped);
      assert.match(readFileSync(`/proc/${child.pid}/status`, 'latin1'), /^Groups:[ \t]*$/m);
      const reached = await owner.do(
        ({ fs }, { pid }) => {
          const tries = [
            `/proc/${pid}/fd`,
            `/proc/${pid}/ns/mnt`,
            `/proc/${pid}/root/etc`,
            `/proc/${pid}/mem`,
            `/proc/${pid}/cwd/etc`,
          ];
          return tries.filter((path) => {
            try {
              if (path.endsWith('/fd') || path.endsWith('/etc')) fs.readdirSync(path);
              else fs.closeSync(fs.openSync(path, 'r'));
              return true;
            } catch {
              return false;
            }
          });
        },
        { pid: child.pid! },
      );
      assert.deepEqual(reached, []);
    } finally {
      child.stdin!.destroy();
      await once(child, 'exit');
      for (const fd of [staging, userns, secret]) closeSync(fd);
    }
    assert.equal(child.exitCode, 0, 'it ends when its pipe does');
  });
}

test('every descriptor of the daemon is close-on-exec', async () => {
  const { held } = await victim.do(
    ({ client, file, store }, { address, image }) => {
      const connection = client.connect({ address });
      const fd = file.openPath(image, file.O_RDONLY);
      store['held'] = [connection, connection.mountFile(fd, []).mount];
      fd.close();
      return { held: 2 };
    },
    { address: daemon.address, image },
  );
  assert.equal(held, 2);
  const O_CLOEXEC = 0o2000000;
  let seen = 0;
  for (const fd of readdirSync(`/proc/${daemon.pid}/fdinfo`).map(Number)) {
    // What the test itself was started with is not the daemon's doing.
    if (fd <= 2 || openFds(process.pid).get(fd) === openFds(daemon.pid).get(fd)) continue;
    const flags = Number.parseInt(/^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/${daemon.pid}/fdinfo/${fd}`, 'latin1'))![1]!, 8);
    assert.ok(flags & O_CLOEXEC, `descriptor ${fd}, ${openFds(daemon.pid).get(fd)}, would be inherited`);
    seen++;
  }
  assert.ok(seen > 15);
});
