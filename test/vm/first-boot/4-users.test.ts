// Two users at once, and namespaces of every making: right ids, or a refusal.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import type { OwnedFd } from '../../../client/index.js';
import { O_RDONLY, openPath } from '../../../core/kernel/file.js';
import { usernsOwner } from '../../../core/kernel/namespace.js';
import { type Actor, startActor } from '../../support/actor.js';
import { handOver } from '../../support/hand-over.js';
import { eventually } from '../../support/daemon.js';
import { addToRepository, policyText } from '../../support/images.js';
import type { Kit } from '../../support/kit.js';
import { run } from '../../support/machine.js';
import { assertDone } from '../../support/outcome.js';
import { runAs } from '../../support/run-as.js';
import { parseDump } from '../../../core/image/dump-parser.js';
import { writeImage } from '../../../core/image/writer.js';
import { ALICE, audits, BOB, podmanActor, subordinateOf, writePolicy } from '../guest.js';

const REPOSITORY = '/srv/users';
const DUMP = `/ 0 40755 2 0 0 0 0.0 - - -
/roots 2 100644 1 0 0 0 0.0 - 0\\n -
/fives 2 100644 1 5 7 0 0.0 - 5\\n -
`;
/** Owners of the two files, as uid:gid. */
type Owners = readonly [roots: string, fives: string];
const holders: ChildProcess[] = [];
let alice: Actor;
let bob: Actor;

before(async () => {
  mkdirSync(`${REPOSITORY}/objects`, { recursive: true });
  const image = '/var/tmp/users.cfs';
  writeFileSync(image, writeImage(parseDump(Buffer.from(DUMP)), 1));
  const digest = addToRepository(REPOSITORY, image, 'users');
  writePolicy(policyText({ digests: [digest], repositories: { [REPOSITORY]: 'trusted' } }));
  alice = await podmanActor(ALICE);
  bob = await podmanActor(BOB);
});
after(async () => {
  for (const holder of holders) holder.kill('SIGKILL');
  await alice?.stop();
  await bob?.stop();
});

/** Mounts so many times, and keeps the mounts. Returns whose the files are in each, as the caller sees them. */
function mountMany({ client, fs, store }: Kit, count: number): (readonly [string, string])[] {
  const connection = client.connect({ timeoutMs: 60_000 });
  const mounts = Array.from({ length: count }, () => connection.mountImage('users').mount);
  const list = connection.listMounts().length;
  connection.close();
  store['mounts'] = mounts;
  if (list !== count) throw new Error(`${list} mounts listed`);
  const owner = (path: string): string => `${fs.statSync(path).uid}:${fs.statSync(path).gid}`;
  return mounts.map(({ raw }) => [owner(`/proc/self/fd/${raw}/roots`), owner(`/proc/self/fd/${raw}/fives`)]);
}

/** The same files, as the host sees them through the actor's descriptor. */
function ownersOnHost(actor: Actor, fd: number): Owners {
  const owner = (name: string): string => run('stat', '-L', '-c', '%u:%g', `/proc/${actor.pid}/fd/${fd}/${name}`).trim();
  return [owner('roots'), owner('fives')];
}

const keptFd = (actor: Actor): Promise<number> => actor.do(({ store }) => (store['mounts'] as OwnedFd[])[0]!.raw, null);

test('two users at once: each has its own ids, and sees its own mounts', async () => {
  const both = await Promise.all([alice.do(mountMany, 15), bob.do(mountMany, 15)]);
  for (const owners of both) assert.deepEqual([...new Set(owners.map(String))], ['0:0,5:7']);
  for (const [actor, uid] of [
    [alice, ALICE],
    [bob, BOB],
  ] as const) {
    const first = subordinateOf(uid);
    assert.deepEqual(ownersOnHost(actor, await keptFd(actor)), [`${uid}:${uid}`, `${first + 4}:${first + 6}`]);
  }
});

/** Mounts with a user namespace that the test hands over. Returns the error's code, or whose the files are, seen by the caller. */
async function mountWith(actor: Actor, userns: OwnedFd): Promise<string> {
  await handOver(actor, 'userns', userns);
  return actor.do(({ client, fs, store }) => {
    const userns = store['userns'] as OwnedFd;
    const connection = client.connect({ timeoutMs: 60_000 });
    try {
      const { mount } = connection.mountImage('users', { userns });
      const { uid, gid } = fs.statSync(`/proc/self/fd/${mount.raw}/fives`);
      mount.close();
      return `${uid}:${gid}`;
    } catch (error) {
      return (error as { code?: string }).code ?? String(error);
    } finally {
      for (const one of [userns, connection]) one.close();
    }
  }, null);
}

const usernsOf = (pid: number): OwnedFd => openPath(`/proc/${pid}/ns/user`, O_RDONLY);

test('a user with the namespace of another: BadUserNamespace, and one audit line that says so', async () => {
  const before = audits().length;
  using bobs = usernsOf(bob.pid);
  using alices = usernsOf(alice.pid);
  assert.equal(await mountWith(alice, bobs), 'BadUserNamespace');
  assert.equal(await mountWith(bob, alices), 'BadUserNamespace');
  assert.equal(await mountWith(alice, alices), '5:7');
  assert.deepEqual(
    audits()
      .slice(before)
      .map(({ uid, verdict }) => [uid, verdict]),
    [
      [ALICE, 'deny'],
      [BOB, 'deny'],
      [ALICE, 'allow'],
    ],
  );
});

/** A process in a user namespace that the words make. */
async function startHolder(words: readonly string[], outside: readonly number[] = []): Promise<number> {
  const holder = spawn(words[0]!, [...words.slice(1), 'sleep', 'infinity'], { stdio: 'ignore', cwd: '/' });
  holders.push(holder);
  const known = ['self', ...outside].map((pid) => readlinkSync(`/proc/${pid}/ns/user`));
  await eventually('the namespace is made', () => !known.includes(readlinkSync(`/proc/${holder.pid}/ns/user`)));
  return holder.pid!;
}

test('a namespace nested in the user’s own: its ids', async () => {
  // Root in it is user 5 of podman's namespace: what the image calls 0 is user 5 there.
  const words = ['nsenter', '-U', '-t', String(alice.pid), '-S', '5', '-G', '7', '--', 'unshare', '-U', '-r'];
  using nested = usernsOf(await startHolder(words, [alice.pid]));
  const first = subordinateOf(ALICE);
  assert.equal(usernsOwner(nested), first + 4, 'made by a subordinate id');
  assert.equal(await mountWith(alice, nested), '65534:65534', 'nobody: id 5 does not exist in it');
  const inside = await startActor({
    uid: first + 4,
    through: ['nsenter', '-U', '-t', String(alice.pid), '-S', '5', '-G', '7', '--', 'unshare', '-U', '-r', '-m'],
  });
  try {
    const owners = await inside.do(mountMany, 2);
    assert.deepEqual(owners[0], ['0:0', '65534:65534']);
    assert.deepEqual(ownersOnHost(inside, await keptFd(inside)), [`${first + 4}:${first + 6}`, '65534:65534']);
  } finally {
    await inside.stop();
  }
});

test('a namespace that root made for somebody, as a system’s container has: BadUserNamespace', async () => {
  const pid = await startHolder(['unshare', '-U']);
  for (const map of ['uid_map', 'gid_map']) writeFileSync(`/proc/${pid}/${map}`, '0 300000 65536\n');
  using roots = usernsOf(pid);
  assert.equal(usernsOwner(roots), 0);
  assert.equal(await mountWith(alice, roots), 'BadUserNamespace');
  const within = await startActor({ uid: 301000, join: pid });
  try {
    assert.equal(await mountWith(within, roots), 'BadUserNamespace', 'not even who is root in it');
  } finally {
    await within.stop();
  }
});

/** A root for containers: the guest's own programs, and directories to mount at. */
function makeContainerRoot(path: string): void {
  for (const name of ['usr', 'proc', 'sys', 'dev', 'tmp', 'etc', 'run/cfsmountd', 'mnt', 'var'])
    mkdirSync(`${path}/${name}`, { recursive: true });
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, `${path}/${name}`);
}

const SCRIPT = 'cfsctl mount users /mnt && stat -c %u:%g /mnt/fives';

test('a rootless podman container that holds the socket: its ids', () => {
  makeContainerRoot('/home/alice/root');
  run('chown', '-R', '-h', 'alice:alice', '/home/alice/root');
  const flags = [
    '--rm',
    '--network=none',
    '--cap-add=sys_admin',
    '--security-opt=seccomp=unconfined',
    '--security-opt=unmask=ALL',
  ];
  const volumes = ['-v', '/usr:/usr:ro', '-v', '/run/cfsmountd/socket:/run/cfsmountd/socket'];
  const words = ['alice', 'podman', 'run', ...flags, ...volumes, '--rootfs', '/home/alice/root', 'sh', '-ec', SCRIPT];
  assertDone(runAs(0, ['as-user', ...words], { cwd: '/' }), '5:7\n');
});

test('a container of root’s with private users, which systemd-nspawn made: BadUserNamespace', () => {
  makeContainerRoot('/var/tmp/nspawn');
  const binds = ['--bind-ro=/usr', '--bind=/run/cfsmountd/socket'];
  const flags = [
    '--quiet',
    '--register=no',
    '--keep-unit',
    '--console=pipe',
    '--private-users=524288',
    '--private-users-ownership=chown',
  ];
  const words = ['systemd-nspawn', ...flags, ...binds, '--directory=/var/tmp/nspawn', 'sh', '-ec', SCRIPT];
  const { status, stderr } = runAs(0, words, { cwd: '/' });
  assert.match(stderr, /cfsctl: the user namespace does not belong to uid/);
  assert.equal(status, 1);
});
