// Row 23: what runs in the caller's user namespace (core/kernel/park.c) is stopped and killed by the caller. Needed: a time-out for it
// (daemon/parking.ts), and no wait for it on the daemon's own thread.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';

import { type Actor, type ActorOptions, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { buildHunter, endHunt, startHunt } from '../support/hunter.js';
import { makeErofs, policyText } from '../support/images.js';
import { PATIENCE } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';
import { childrenOf, heldState } from '../support/state.js';
import { mountOnce } from '../support/steps.js';
import { injectFault } from '../support/strace.js';

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
  const helpers = daemon ? childrenOf(daemon.pid) : [];
  await daemon?.kill();
  for (const helper of helpers) process.kill(helper, 'SIGKILL'); // one that is stopped does not see that its daemon is gone
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

/** The hunter always wins the race: once in the caller's namespace, the helper waits a while. */
const slowDown = (syscall = 'setresgid') => injectFault(daemon.pid, syscall, 'delay_enter=1000000', '1');

/** Before it changes its ids the helper is still root's, and afterwards the caller's: only CAP_KILL ends it then. */
const STOPS = [
  { moment: 'stopped', syscall: 'setresgid', mode: 'stop' },
  { moment: 'stopped with ids of the caller', syscall: 'close_range', mode: 'stop-late' },
] as const;

for (const { moment, syscall, mode } of STOPS) {
  test(
    `${moment}: the caller gets an error in time, nobody else waits, and the next attempt works`,
    { timeout: 90_000 * PATIENCE },
    async () => {
      const attacker = await actor({ uid: 4764 });
      const delay = await slowDown(syscall);
      await startHunt(attacker, hunter, mode);
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
      assert.equal((await endHunt(attacker)).length, 1, 'the helper was caught');
      await delay.detach();
      assert.equal(outcome, 'Timeout');
      assert.ok(ms < 10_000 + 2_000 * PATIENCE, `answered after ${ms} ms`);
      assert.ok(slowest < 2_000 * PATIENCE, `${served} mounts of another user meanwhile, the slowest took ${slowest} ms`);
      await daemon.eventually('the helper is gone', () => childrenOf(daemon.pid).length === 0);
      assert.equal((await firstMount(attacker)).outcome, 'mounted');
    },
  );
}

test(
  'killed: the caller gets an error, nothing is left, and the next attempt works',
  { timeout: 60_000 * PATIENCE },
  async () => {
    const before = heldState(daemon.pid);
    for (const slowed of [true, false, false, false]) {
      const attacker = await actor({ uid: 4765 });
      const delay = slowed ? await slowDown() : undefined;
      await startHunt(attacker, hunter, 'kill');
      const { outcome, ms } = await firstMount(attacker);
      const hits = (await endHunt(attacker)).length;
      await delay?.detach();
      assert.ok(ms < 8_000 * PATIENCE, `answered after ${ms} ms`);
      if (slowed) assert.deepEqual({ hits, outcome }, { hits: 1, outcome: 'BadUserNamespace' });
      // Killed after the daemon had what it needs, it changes nothing.
      else assert.ok([...(hits > 0 ? ['BadUserNamespace', 'Failed'] : []), 'mounted'].includes(outcome), outcome);
      assert.equal((await firstMount(attacker)).outcome, 'mounted');
      await attacker.stop();
    }
    assert.equal(heldState(daemon.pid).children, before.children);
    await victim.do(mountOnce, { address: daemon.address, image });
  },
);
