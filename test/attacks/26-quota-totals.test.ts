// Row 26, the limits that are not one user's alone, or not of what lives: mounts of all users together, and mounts within a minute. Needed: room is
// reserved before a mount is built, and given back when it came to nothing (daemon/accounts.ts, daemon/rate.ts).
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';

import { connect } from '../../client/index.js';
import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { digestOfFile, makeErofs, policyText } from '../support/images.js';
import type { Kit } from '../support/kit.js';
import { run } from '../support/machine.js';
import { type PrivateBus, startPrivateBus } from '../support/private-bus.js';
import { makeScratch } from '../support/scratch.js';

/** A bus serves only users it can look up: these every Debian has. */
const [FIRST, SECOND, THIRD] = [1, 2, 3];
const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const closed = join(scratch.path, 'closed.erofs');
const actors: Actor[] = [];
let digest: string;
let bus: PrivateBus;
let daemon: Daemon;

before(async () => {
  digest = makeErofs(image, { 'hello.txt': 'hello\n' });
  // Its root is for an id that no namespace here maps: the mount is built, and cannot be counted.
  const tree = join(scratch.path, 'tree');
  mkdirSync(tree, { mode: 0o700 });
  run('mkfs.erofs', '--quiet', '--force-uid=4711', '--force-gid=4711', closed, tree);
  chmodSync(closed, 0o644);
  bus = await startPrivateBus();
});
afterEach(async () => {
  await Promise.all(actors.splice(0).map((one) => one.stop()));
  await daemon?.stop();
});
after(async () => {
  await bus?.stop();
  scratch.remove();
});

async function startWith(limits: string): Promise<void> {
  const policy = policyText({ digests: [digest, digestOfFile(closed)], extra: `[limits]\n${limits}\n` });
  daemon = await startDaemon({ policy, flags: ['--bus', `unix:path=${bus.socket}`] });
}

async function actor(uid: number): Promise<Actor> {
  const started = await startActor({ uid });
  actors.push(started);
  return started;
}

function liveMounts(): number {
  using client = connect({ address: daemon.address });
  return client.listMounts().length;
}

interface Outcome {
  got: number;
  /** Code, message and hint. */
  refused: string[];
}

/** A swarm: as many connections as mounts, all calls under way at once, over both transports in turn. What it gets it keeps in the store. */
async function swarm(
  { client, file, store }: Kit,
  { addresses, path, count }: { addresses: string[]; path: string; count: number },
): Promise<Outcome> {
  const fd = file.openPath(path, file.O_RDONLY);
  const connections = Array.from({ length: count }, (_, i) => client.connect({ address: addresses[i % addresses.length] }));
  const outcomes = await Promise.allSettled(connections.map((connection) => connection.mountFileAsync(fd, [])));
  const kept = ((store['mounts'] as unknown[]) ??= []);
  const refused: string[] = [];
  let got = 0;
  for (const outcome of outcomes) {
    if (outcome.status === 'fulfilled') {
      kept.push(outcome.value.mount);
      got++;
    } else refused.push(`${outcome.reason.code}: ${outcome.reason.message}; ${outcome.reason.hint}`);
  }
  for (const connection of connections) connection.close();
  fd.close();
  return { got, refused };
}
const take = (who: Actor, count: number, path = image): Promise<Outcome> =>
  who.do(swarm, { addresses: [daemon.address, `bus:unix:path=${bus.socket}`], path, count });

const TOTAL = /^QuotaExceeded: all users together have 6 live mounts, the most the policy allows; .*mounts-total/;

test('all users together have so many mounts, exactly, over both transports; killed clients and held descriptors count until they are gone', async () => {
  await startWith('mounts-total = 6\nmounts-per-user = 5');
  const [first, second, third] = [await actor(FIRST), await actor(SECOND), await actor(THIRD)];
  const outcomes = await Promise.all([take(first, 8), take(second, 8), take(third, 8)]);
  assert.equal(
    outcomes.reduce((sum, { got }) => sum + got, 0),
    6,
  );
  assert.equal(liveMounts(), 6);
  const messages = outcomes.flatMap(({ refused }) => refused);
  assert.equal(messages.length, 18);
  for (const message of messages) assert.match(message, /^QuotaExceeded: (all users together have 6|uid \d has 5) live mounts/);
  assert.ok(
    messages.some((message) => TOTAL.test(message)),
    messages.join('\n'),
  );
  const got = outcomes[0]!.got;
  await first.stop();
  await daemon.eventually('what the killed client held is given back', () => liveMounts() === 6 - got);
  assert.equal((await take(third, 1)).got, got > 0 && outcomes[2]!.got < 5 ? 1 : 0);
});

test('all users together: after everything is let go there is room for as many again', async () => {
  await startWith('mounts-total = 6');
  for (let round = 0; round < 3; round++) {
    const user = await actor(FIRST + (round % 3));
    const { got, refused } = await take(user, 9);
    assert.deepEqual([got, refused.length, refused.every((message) => TOTAL.test(message))], [6, 3, true]);
    await user.stop();
    await daemon.eventually('all are gone', () => liveMounts() === 0);
  }
});

const RATE = /^QuotaExceeded: uid 2 got 4 mounts within a minute, the most the policy allows; wait \d+ s, or .*mounts-per-minute/;

test('a user gets so many mounts within a minute, over both transports, however soon they are let go; another user has a count of its own', async () => {
  await startWith('mounts-per-minute = 4');
  const user = await actor(SECOND);
  const { got, refused } = await take(user, 7);
  assert.deepEqual([got, refused.length, refused.every((message) => RATE.test(message))], [4, 3, true], refused.join('\n'));
  const denied = () => daemon.audits().filter((line) => line['error'] === 'QuotaExceeded' && line['uid'] === SECOND);
  await daemon.eventually('each refusal is in the log', () => denied().length === 3);
  assert.match(String(denied()[0]!['reason']), /^uid 2 got 4 mounts within a minute/);
  await user.stop();
  await daemon.eventually('all are gone', () => liveMounts() === 0);
  const again = await take(await actor(SECOND), 1);
  assert.deepEqual([again.got, RATE.test(again.refused[0]!)], [0, true]);
  assert.equal((await take(await actor(THIRD), 5)).got, 4);
});

test('a mount that came to nothing counts for nothing within a minute', async () => {
  await startWith('mounts-per-minute = 3');
  const user = await actor(SECOND);
  const outcomes = await take(user, 6, closed);
  assert.equal(outcomes.got, 0);
  for (const message of outcomes.refused) assert.match(message, /^BadUserNamespace: the root directory of the image is closed/);
  assert.deepEqual([(await take(user, 5)).got, liveMounts()], [3, 3]);
});
