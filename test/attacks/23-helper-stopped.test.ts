// Row 23: what runs in the caller's user namespace (core/kernel/park.c) is stopped and killed by the caller. Needed: a time-out for it
// (daemon/parking.ts), and no wait for it on the daemon's own thread.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';

import { type Actor, type ActorOptions, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { buildHunter, endHunt, startHunt } from '../support/hunter.js';
import { makeErofs, policyText } from '../support/images.js';
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
