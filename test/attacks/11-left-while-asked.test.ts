// Row 11: a caller that dies while somebody else is asked about it, and whoever has its pid or its connection next. Defences: an answer counts
// only while the caller is there; polkit is told which process made the connection, and it must be alive.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import type { OwnedFd } from '../../core/kernel/fd.js';
import { O_RDONLY, openPath } from '../../core/kernel/file.js';
import { waitReady } from '../../core/kernel/poll.js';
import { acceptStream, listenStream, receive, send } from '../../core/kernel/socket.js';
import { type Actor, startActor } from '../support/actor.js';
import { eventually } from '../support/daemon.js';
import { PATIENCE } from '../support/machine.js';
import { type Agent, startAgent } from '../support/polkit.js';
import { ASKED, GRANTED, type PolkitSetting, startPolkitSetting, type Transport, tryMount } from '../support/polkit-setting.js';
import { encodeCall } from '../support/raw-call.js';
import { makeScratch } from '../support/scratch.js';

let setting: PolkitSetting;
let agent: Agent | undefined;
const scratch = makeScratch();
const started: Actor[] = [];

before(async () => {
  setting = await startPolkitSetting();
  // What is kept of an image is kept from its first mount on.
  const first = await start(GRANTED);
  assert.equal(await tryMount(first, { address: setting.addressOf('direct'), image: 'base' }), 'mounted');
});
afterEach(async () => {
  agent?.stop();
  for (const actor of started.splice(0)) await actor.stop();
});
after(async () => {
  await setting?.stop();
  scratch.remove();
});

async function start(uid: number): Promise<Actor> {
  const actor = await startActor({ uid });
  started.push(actor);
  return actor;
}

const refusals = (): unknown[] =>
  setting.daemon
    .audits()
    .filter(({ verdict }) => verdict === 'deny')
    .map(({ reason }) => reason);

async function killActor(actor: Actor): Promise<void> {
  actor.process.kill('SIGKILL');
  await once(actor.process, 'exit');
}

for (const transport of ['direct', 'bus'] as const satisfies readonly Transport[]) {
  describe(`the caller is killed while a person is asked, over ${transport}`, () => {
    test('polkit is told to forget it, and nothing is mounted', async () => {
      const audits = setting.daemon.audits().length;
      const descriptors = setting.daemon.fds().size;
      const actor = await start(ASKED);
      agent = await startAgent(setting.bus, actor.pid);
      const outcome = tryMount(actor, { address: setting.addressOf(transport), image: 'base' });
      outcome.catch(() => undefined); // it dies
      await eventually('the agent is asked', () => agent!.asked.length === 1);
      await killActor(actor);
      await eventually('the question is taken back', () => agent!.asked[0]!.cancelled);
      await eventually('the refusal is in the log', () => setting.daemon.audits().length > audits);
      assert.match(String(refusals().at(-1)), /and the caller left before it had answered$/);
      await eventually('no descriptor is left', () => setting.daemon.fds().size <= descriptors);
    });

    test('a client that stops waiting is one that left', async () => {
      const actor = await start(ASKED);
      agent = await startAgent(setting.bus, actor.pid);
      const outcome = await tryMount(actor, {
        address: setting.addressOf(transport),
        image: 'base',
        timeoutMs: 1_000 * PATIENCE,
      });
      assert.match(outcome, /^Timeout: /);
      await eventually('the question is taken back', () => agent!.asked[0]!.cancelled);
    });
  });

  test(`the caller is killed while polkit hangs, over ${transport}: the yes that comes then counts for nothing`, async () => {
    const audits = setting.daemon.audits().length;
    const actor = await start(GRANTED);
    process.kill(setting.polkit.pid, 'SIGSTOP');
    try {
      tryMount(actor, { address: setting.addressOf(transport), image: 'base' }).catch(() => undefined);
      await sleep(1_000 * PATIENCE);
      await killActor(actor);
    } finally {
      process.kill(setting.polkit.pid, 'SIGCONT');
    }
    await eventually('the refusal is in the log', () => setting.daemon.audits().length > audits);
    assert.match(String(refusals().at(-1)), /and the caller left before it had answered$/);
  });
}

/** The connection of an actor, in this process, too. */
async function takeConnection(actor: Actor): Promise<OwnedFd> {
  const path = join(scratch.path, `hand-${actor.pid}`);
  using listener = listenStream(path, 1);
  chmodSync(path, 0o666);
  const given = actor.do(
    ({ raw, socket }, { service, path }) => {
      const connection = raw.connectAuthenticated(service);
      const stream = socket.connectStream(path);
      socket.send(stream, Buffer.from([0]), [connection.socket]);
      return true;
    },
    { service: setting.daemon.socket, path },
  );
  let stream: OwnedFd | null = null;
  await eventually('the actor connects', () => (stream = acceptStream(listener)) !== null);
  using taken = stream! as OwnedFd;
  assert.ok(waitReady(taken, 'readable', 5_000));
  const connection = receive(taken, Buffer.alloc(1))!.fds[0]!;
  await given;
  return connection;
}

/** Makes the call on a connection that another process made; `own` is a process of the user in its own user namespace. */
async function mountOver(connection: OwnedFd, own: Actor): Promise<string> {
  using userns = openPath(`/proc/${own.pid}/ns/user`, O_RDONLY);
  const call = encodeCall({ member: 'MountImage', signature: 'sha{sv}', body: ['base', 0, []], fds: [userns] });
  assert.equal(send(connection, call, [userns]), call.length);
  const buffer = Buffer.alloc(4096);
  let bytes = 0;
  await eventually('the service answers', () => {
    const got = receive(connection, buffer);
    for (const fd of got?.fds ?? []) fd.close();
    bytes = got?.bytes ?? 0;
    return got !== null;
  });
  return buffer.toString('latin1', 0, bytes);
}

test('a connection that outlives the process which made it: polkit is not asked about whoever has its pid next', async () => {
  const maker = await start(GRANTED);
  const other = await start(GRANTED);
  using connection = await takeConnection(maker);
  assert.match(await mountOver(connection, other), /locked/); // as long as it lives
  await killActor(maker);
  assert.match(await mountOver(connection, other), /Error\.NotAuthorized.*and the process that connected has ended/s);
});
