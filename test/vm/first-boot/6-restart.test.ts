// Fifty mounts live while the service is killed, restarted and upgraded: they go on, and are counted.
import assert from 'node:assert/strict';
import { mkdirSync, readlinkSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { connect } from '../../../client/index.js';
import { type Actor } from '../../support/actor.js';
import { eventually } from '../../support/daemon.js';
import { addToRepository, makeErofs, policyText } from '../../support/images.js';
import type { Kit } from '../../support/kit.js';
import { run } from '../../support/machine.js';
import { ALICE, becomes, BOB, installPackage, manyIdsActor, show, writePolicy } from '../guest.js';

const REPOSITORY = '/srv/live';
const LIMIT = 40;
const OF_BOB = 10;
const TEXT = 'still here\n';
let alice: Actor;
let bob: Actor;
let digest: string;

const limitTo = (mounts: number): void =>
  writePolicy(
    policyText({
      digests: [digest],
      repositories: { [REPOSITORY]: 'trusted' },
      extra: `[limits]\nmounts-per-user = ${mounts}\n`,
    }),
  );

before(async () => {
  mkdirSync(`${REPOSITORY}/objects`, { recursive: true });
  digest = makeErofs('/var/tmp/live.erofs', { note: TEXT });
  addToRepository(REPOSITORY, '/var/tmp/live.erofs', 'live');
  limitTo(LIMIT);
  alice = await manyIdsActor(ALICE);
  bob = await manyIdsActor(BOB);
});
after(async () => {
  await alice?.stop();
  await bob?.stop();
});

/** Mounts and attaches so many more below /mnt. Returns 'mounted', or the code of the refusal. */
function mountMore({ client, fs, store }: Kit, count: number): string {
  const connection = client.connect({ timeoutMs: 60_000 });
  try {
    for (let i = 0; i < count; i++) {
      const { mount } = connection.mountImage('live');
      const place = `/tmp/live-${process.getuid!()}-${process.pid}-${(store['next'] = ((store['next'] as number | undefined) ?? 0) + 1)}`;
      fs.mkdirSync(place);
      client.attach(mount, place);
      mount.close();
      ((store['places'] ??= []) as string[]).push(place);
    }
    return 'mounted';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  } finally {
    connection.close();
  }
}

/** What their file reads, in each of them. */
const readAll = ({ fs, store }: Kit): string[] =>
  (store['places'] as string[]).map((place) => fs.readFileSync(`${place}/note`, 'utf8'));

/** Lets go of the mount made last. */
async function unmountLast(actor: Actor): Promise<void> {
  const before = counted().length;
  await actor.do(({ mount, store }) => mount.umount2((store['places'] as string[]).pop()!, mount.MNT_DETACH), null);
  await eventually('it counts no more', () => counted().length === before - 1);
}

/** Root sees everybody's. */
function counted(): readonly { uid: number }[] {
  using client = connect({ timeoutMs: 60_000 });
  return client.listMounts();
}

async function requireAllAsBefore(): Promise<void> {
  for (const [actor, uid, count] of [
    [alice, ALICE, LIMIT],
    [bob, BOB, OF_BOB],
  ] as const) {
    assert.deepEqual(
      await actor.do(readAll, null),
      Array.from({ length: count }, () => TEXT),
    );
    assert.equal(counted().filter((mount) => mount.uid === uid).length, count, `mounts of ${uid}`);
  }
  assert.equal(await alice.do(mountMore, 1), 'QuotaExceeded');
  assert.equal(await bob.do(mountMore, 1), 'mounted');
  await unmountLast(bob);
}

test('fifty mounts of two users, one of them at its limit', async () => {
  assert.deepEqual(await Promise.all([alice.do(mountMore, LIMIT), bob.do(mountMore, OF_BOB)]), ['mounted', 'mounted']);
  await requireAllAsBefore();
});

const mainPid = (): string => show('cfsmountd.service', 'MainPID');

const STEPS: readonly { name: string; step: () => void }[] = [
  { name: 'killed with SIGKILL', step: () => void run('systemctl', 'kill', '--signal=KILL', 'cfsmountd') },
  { name: 'restarted', step: () => void run('systemctl', 'restart', 'cfsmountd') },
  { name: 'upgraded', step: () => installPackage(2) },
  { name: 'stopped and called again', step: () => void run('systemctl', 'stop', 'cfsmountd') },
];
for (const { name, step } of STEPS) {
  test(`${name}: the mounts go on, are counted, and the limit holds`, async () => {
    const old = mainPid();
    step();
    await eventually('another process answers', () => counted().length > 0 && ![old, '0'].includes(mainPid()));
    await becomes('cfsmountd.service', 'active');
    await requireAllAsBefore();
  });
}

test('the upgraded package is installed', () => {
  assert.match(run('dpkg-query', '-W', '-f', '${Version}', 'cfsmountd'), /-2$/);
});

test('what is let go of makes room, and then the limit holds again', async () => {
  await unmountLast(alice);
  assert.equal(await alice.do(mountMore, 1), 'mounted');
  assert.equal(await alice.do(mountMore, 1), 'QuotaExceeded');
});

const inSameMounts = (one: string, other: number): boolean =>
  readlinkSync(`/proc/${one}/ns/mnt`) === readlinkSync(`/proc/${other}/ns/mnt`);

test('fifty mounts live when the machine is shut down, without those who asked for them (the second boot goes on from here)', async () => {
  for (const [name, { pid }] of Object.entries({ alice, bob })) {
    const unit = `vm-holder-${name}.service`;
    const within = ['nsenter', '-U', '-m', '-t', String(pid), '-S', '0', '-G', '0', 'sleep', 'infinity'];
    run('systemd-run', '--quiet', `--unit=${unit}`, ...within);
    await eventually('it is where the mounts are', () => inSameMounts(show(unit, 'MainPID'), pid));
  }
  await alice.stop();
  await bob.stop();
  assert.equal(counted().length, LIMIT + OF_BOB);
});
