// The accounts of live mounts outlive the process: the service manager keeps them, played by the test (sd_notify's FDSTORE=1).
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { connect } from '../../client/index.js';
import { writeAllAt } from '../../core/kernel/file.js';
import { type Actor, startActor } from '../support/actor.js';
import { eventually, openFds } from '../support/daemon.js';
import { makeErofs, policyText } from '../support/images.js';
import { DIST } from '../support/machine.js';
import { type NotifySocket, openNotifySocket } from '../support/notify-socket.js';
import { type Background, startInBackground } from '../support/process.js';
import type { Kit } from '../support/kit.js';
import { makeScratch } from '../support/scratch.js';
import { closeStored, type MountRequest } from '../support/steps.js';

const UID = 4711;
const LIMIT = 4;
const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const digest = makeErofs(image, { 'hello.txt': 'hello\n' });
after(() => scratch.remove());

let directory: string;
let manager: NotifySocket;
let actor: Actor;
let daemon: Background | undefined;
let count = 0;
beforeEach(async () => {
  directory = join(scratch.path, `run-${++count}`);
  mkdirSync(join(directory, 'policy.d'), { recursive: true });
  writePolicy(LIMIT);
  manager = openNotifySocket(join(directory, 'notify'));
  actor = await startActor({ uid: UID });
});
afterEach(async () => {
  await actor.stop();
  await daemon?.ended('SIGTERM');
  daemon = undefined;
  manager.close();
});

function writePolicy(limit: number): void {
  const text = policyText({ digests: [digest], extra: `[limits]\nmounts-per-user = ${limit}\n` });
  writeFileSync(join(directory, 'policy.d/test.toml'), text);
}

const address = (): string => `unix:path=${join(directory, 'socket')}`;

/** Starts the service with what the manager keeps for it, or with some of that. */
async function start(
  names: readonly string[] = [...manager.store.keys()],
  flags: readonly string[] = [],
  more = {},
): Promise<Background> {
  const places = ['--policy-dir', join(directory, 'policy.d'), '--state-dir', join(directory, 'state')];
  const command = [join(DIST, 'cfsmountd'), ...places, '--socket', join(directory, 'socket'), '--bus', 'none', ...flags];
  const env = {
    ...more,
    NOTIFY_SOCKET: join(directory, 'notify'),
    LISTEN_FDS: String(names.length),
    LISTEN_FDNAMES: names.join(':'),
  };
  // LISTEN_PID is the number of the very process: only the process that becomes the daemon knows it.
  const withPid = ['sh', '-c', 'LISTEN_PID=$$ exec "$@"', 'sh', ...command];
  daemon = startInBackground(
    withPid,
    env,
    names.map((name) => manager.store.get(name)!.raw),
  );
  await daemon.says('"msg":"ready"');
  manager.take();
  return daemon;
}

/** Mounts that the actor keeps a descriptor of, by the name of its store. */
async function mountAs(key: string): Promise<void> {
  await actor.do(
    ({ client, file, store }, { address, image, key }) => {
      const connection = client.connect({ address });
      const opened = file.openPath(image, file.O_RDONLY);
      store[key] = [connection.mountFile(opened, []).mount];
      opened.close();
      connection.close();
    },
    { address: address(), image, key },
  );
}

interface Entry {
  readonly id: bigint;
  readonly uid: number;
}

/** Root sees everybody's. */
function listed(): Entry[] {
  using client = connect({ address: address() });
  return client.listMounts();
}

test('killed and started again: the same mounts are listed, and count against the same limit', async () => {
  const first = await start();
  for (const key of ['a', 'b', 'c']) await mountAs(key);
  const before = listed();
  assert.deepEqual(
    before.map(({ id, uid }) => [id, uid]),
    [
      [1n, UID],
      [2n, UID],
      [3n, UID],
    ],
  );
  await first.ended('SIGKILL');
  const second = await start();
  assert.match(second.stderr(), /"inherited":0,"mounts":3,/, 'what is kept is no socket to listen on');
  assert.deepEqual(listed(), before);
  await mountAs('d');
  await assert.rejects(mountAs('e'), { code: 'QuotaExceeded' });
  assert.equal(listed().at(-1)!.id, 4n, 'no number is given twice');
  await actor.do(closeStored, 'b');
  await eventually('the death of a mount of the first process is seen by the second', () => listed().length === 3);
  await mountAs('e');
});

test('ended and started again: the same', async () => {
  const first = await start();
  await mountAs('a');
  const before = listed();
  assert.equal(await first.ended('SIGTERM'), 0);
  await start();
  assert.deepEqual(listed(), before);
});

test('a mount that dies while there is no service is not counted afterwards', async () => {
  const first = await start();
  for (const key of ['a', 'b']) await mountAs(key);
  await first.ended('SIGKILL');
  await actor.do(closeStored, 'a');
  await start();
  await eventually('one is left', () => listed().length === 1);
  assert.equal(listed()[0]!.id, 2n);
});

test('it ends for being idle while mounts live only where the manager keeps their accounts over a stop', async () => {
  const idle = ['--idle-exit', '1'];
  const first = await start([], idle, { FDSTORE: '2' });
  await mountAs('a');
  const before = listed();
  await first.says('"reason":"idle"');
  assert.equal(await first.ended(), 0);
  const second = await start(undefined, idle);
  assert.deepEqual(listed(), before);
  await sleep(3_000);
  assert.ok(!second.stderr().includes('"reason":"idle"'), 'nobody would know the mount afterwards');
  await actor.do(closeStored, 'a');
  await second.says('"reason":"idle"');
});

/** Mounts and lets go, three at a time, until the service is gone; how many mounts it has then, and what it was told. */
function churn({ client, file, store }: Kit, { address, image }: MountRequest): { mounts: number; why: string } {
  const mounts = (store['mounts'] ??= []) as { close(): void }[];
  try {
    const connection = client.connect({ address });
    for (;;) {
      if (mounts.length >= 3) mounts.shift()!.close();
      const opened = file.openPath(image, file.O_RDONLY);
      try {
        mounts.push(connection.mountFile(opened, []).mount);
      } finally {
        opened.close();
      }
    }
  } catch (error) {
    return { mounts: mounts.length, why: String(error) };
  }
}

test(
  'killed at any moment of mounting and unmounting: afterwards what lives is counted, and nothing else',
  { timeout: 180_000 },
  async () => {
    writePolicy(1_000); // what it lets go of does not die at once
    for (let round = 0; round < 12; round++) {
      const first = await start();
      const killed = sleep(30 + 37 * round).then(() => first.ended('SIGKILL'));
      const [{ mounts, why }] = await Promise.all([actor.do(churn, { address: address(), image }), killed]);
      assert.match(why, /closed the connection|broke/);
      const second = await start();
      await eventually(`round ${round}: ${mounts} live`, () => listed().length === mounts);
      await second.ended('SIGKILL');
    }
  },
);

const DAMAGES: [what: string, damage: () => string[]][] = [
  [
    'the table is damaged',
    () => {
      writeAllAt(manager.store.get('mounts-table')!, Buffer.alloc(100, 0xff), 0);
      return ['mounts-inotify', 'mounts-table'];
    },
  ],
  ['the table is not there', () => ['mounts-inotify']],
  ['the watches are not there', () => ['mounts-table']],
];
for (const [what, damage] of DAMAGES) {
  test(`what was kept cannot be used, and is replaced, and the log says so: ${what}`, async () => {
    const first = await start();
    await mountAs('a');
    await first.ended('SIGKILL');
    const second = await start(damage());
    assert.match(second.stderr(), /not known any more, and count against no limit/);
    assert.deepEqual(listed(), []);
    await mountAs('b');
    const after = listed();
    assert.equal(after.length, 1);
    await second.ended('SIGKILL');
    await start();
    assert.deepEqual(listed(), after, 'the new ones are kept');
  });
}

test('without a service manager the accounts are those of the process', async () => {
  const places = ['--policy-dir', join(directory, 'policy.d'), '--state-dir', join(directory, 'state')];
  const command = [join(DIST, 'cfsmountd'), ...places, '--socket', join(directory, 'socket'), '--bus', 'none'];
  daemon = startInBackground(command, {});
  await daemon.says('"msg":"ready"');
  await mountAs('a');
  assert.equal(listed().length, 1);
  assert.deepEqual(manager.take(), []);
});

test('taking over leaves no descriptor behind', async () => {
  const kindsOf = (pid: number): string[] => [...openFds(pid).values()].filter((name) => /inotify|mounts/.test(name)).sort();
  const first = await start();
  const before = kindsOf(first.process.pid!);
  assert.equal(before.length, 3); // the watches of mounts and their table, and the watch of the policy files
  await first.ended('SIGKILL');
  const second = await start();
  assert.deepEqual(kindsOf(second.process.pid!), before);
});
