// Row 24: what runs in the caller's user namespace (core/kernel/park.c) is traced and robbed by the caller, root there. Needed: it never executes
// anything and is never dumpable, so it stays the host's whatever its ids are; it takes ids of the namespace and gives up all descriptors
// and groups before the mount namespace stands that its new owner can reach.
import assert from 'node:assert/strict';
import { readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';

import { type Actor, type ActorOptions, startActor } from '../support/actor.js';
import { type Daemon, openFds, readStatus, startDaemon } from '../support/daemon.js';
import { buildHunter, endHunt, inspectProcess, startHunt } from '../support/hunter.js';
import { makeErofs, policyText } from '../support/images.js';
import { PATIENCE } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';
import { mountOnce } from '../support/steps.js';
import { startPark } from '../support/park-process.js';

const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const actors: Actor[] = [];
let hunter: string;
let daemon: Daemon;

before(async () => {
  hunter = buildHunter(scratch.path);
  const digest = makeErofs(image, { 'hello.txt': 'hello\n' });
  daemon = await startDaemon({ policy: policyText({ digests: [digest] }) });
});
afterEach(async () => {
  await Promise.all(actors.splice(0).map((actor) => actor.stop()));
});
after(async () => {
  await daemon?.kill();
  scratch.remove();
});

async function actor(options: ActorOptions): Promise<Actor> {
  const started = await startActor(options);
  actors.push(started);
  return started;
}

function requireNothingHad({ pid, ...abilities }: Readonly<Record<string, number>>, when: string): void {
  assert.ok(pid! > 1);
  for (const [ability, had] of Object.entries(abilities)) assert.equal(had, 0, `the caller could reach it ${when}: ${ability}`);
}

/** It holds no id of the host's, and nothing but the two ends of its pipes. */
function requireHarmless(pid: number, uid: number): void {
  const mapped = new RegExp(`^(${uid}\\s*){4}$`);
  assert.match(readStatus(pid, 'Uid'), mapped);
  assert.match(readStatus(pid, 'Gid'), mapped);
  assert.match(readFileSync(`/proc/${pid}/status`, 'latin1'), /^Groups:[ \t]*$/m);
  assert.deepEqual([...openFds(pid).keys()], [0, 1]);
}

const userns = (pid: number): string => readlinkSync(`/proc/${pid}/ns/user`);

const KINDS = [
  { namespace: 'single', uid: 4766 },
  { namespace: 'many', uid: 4767, subordinate: 800_000 },
] as const;

/** From the moment it is in the caller's namespace on, where it can be signalled. */
const STEPS: readonly (readonly [syscall: string, nth: number])[] = [
  ['setns', 2],
  ['openat', 2],
  ['read', 1],
  ['setresgid', 1],
  ['setresuid', 1],
  ['prctl', 2],
  ['close_range', 1],
  ['unshare', 1],
  ['write', 1],
];

test('the hunter itself: a process of the caller’s own can be robbed of all that is looked for', async () => {
  const owner = await actor(KINDS[0]);
  const other = await actor({ uid: KINDS[0].uid, join: owner.pid });
  const { pid, memory, ...abilities } = await inspectProcess(owner, hunter, other.pid);
  assert.equal(pid, other.pid);
  assert.ok(memory !== undefined); // what is at that address, only the helper has for certain
  for (const [ability, had] of Object.entries(abilities)) assert.ok(had > 0, ability);
});

for (const options of KINDS) {
  test(
    `robbed at the first moment it can be signalled: nothing of it can be had (${options.namespace})`,
    { timeout: 60_000 * PATIENCE },
    async () => {
      let caught = 0;
      for (let i = 0; i < 25 && caught === 0; i++) {
        const attacker = await actor(options);
        await startHunt(attacker, hunter, 'inspect');
        await attacker.do(mountOnce, { address: daemon.address, image });
        for (const found of await endHunt(attacker)) {
          caught++;
          requireNothingHad(found, 'in time');
        }
      }
      assert.ok(caught > 0, 'the helper was never caught');
    },
  );

  test(`the helper as it stands in the namespace: ids of the caller's, no group, descriptors 0 and 1 alone (${options.namespace})`, async () => {
    const owner = await actor(options);
    const park = await startPark(owner.pid, {});
    try {
      requireHarmless(park.pid, options.uid);
      requireNothingHad(await inspectProcess(owner, hunter, park.pid), 'where it stands');
    } finally {
      assert.equal(await park.end(), 0, 'it ends when its pipe does');
    }
  });

  test(`stopped after each of its steps: nothing of it can be had (${options.namespace})`, async () => {
    const owner = await actor(options);
    for (const [syscall, nth] of STEPS) {
      const park = await startPark(owner.pid, { stopAfter: { syscall, nth } });
      try {
        assert.equal(userns(park.pid), userns(owner.pid), 'it is in the namespace');
        requireNothingHad(await inspectProcess(owner, hunter, park.pid), `after its ${syscall} number ${nth}`);
        if (syscall === 'unshare') requireHarmless(park.pid, options.uid); // the mount namespace stands, and can be entered
      } finally {
        assert.equal(await park.end(), 0);
      }
    }
  });
}
