// Rootless podman with an additional image store whose layers are validated mounts, on the kernel's overlay: podman as it is, no mount_program.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chownSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { CFSCTL } from '../support/cfsctl.js';
import { run } from '../support/machine.js';
import type { TestImage } from '../support/oci-record.js';
import { type PodmanKit, makeRootTree, mountsOf, openPodmanKit, storageBytes, storeLines } from '../support/podman-kit.js';
import type { RoomUser } from '../support/podman.js';
import type { Outcome } from '../support/run-as.js';

const PAYLOAD = 5_000_000;
let kit: PodmanKit;
let user: RoomUser;
let base: TestImage;
let tree: string;

const podman = (...words: string[]): string => kit.room.output(user, ['podman', ...words]);
const tryPodman = (...words: string[]): Outcome => kit.room.run(user, ['podman', ...words]);
const attach = (...words: string[]): Outcome =>
  tryPodman('unshare', 'cfsctl', 'attach', '--store', kit.store, ...(words.length > 0 ? words : ['--all']));
const migrate = (): string => podman('system', 'migrate');

before(async () => {
  kit = await openPodmanKit();
  user = kit.room.users[0]!;
  tree = makeRootTree(join(kit.room.path, 'tree'), PAYLOAD);
  // What the second layer takes away is in no file of the first one's own.
  for (const name of ['hidden/deep', 'gone']) mkdirSync(join(tree, name), { recursive: true });
  for (const name of ['hidden/below', 'hidden/deep/below', 'gone/file']) writeFileSync(join(tree, name), 'below\n');
  const second = join(kit.room.path, 'second');
  mkdirSync(join(second, 'hidden'), { recursive: true });
  for (const name of ['.wh.gone', 'hidden/.wh..wh..opq']) writeFileSync(join(second, name), '');
  writeFileSync(join(second, 'hidden/above'), 'above\n');
  base = kit.add('base', tree, second);
  kit.export();
  await kit.trust([base]);
  kit.room.configureStorage(user, storeLines(kit.store));
});
after(() => kit?.close());

test('an image that is not attached does not run, and podman says what to run', () => {
  const { status, stderr } = tryPodman('run', '--rm', 'base', 'true');
  assert.equal(status, 126);
  assert.match(stderr, /if not attached - run - podman unshare cfsctl attach --all/);
  for (const words of [
    ['create', '--name', 'never', 'base', 'true'],
    ['start', 'never'],
  ])
    tryPodman(...words);
  assert.notEqual(tryPodman('cp', 'never:/bin', join(user.home, 'out')).status, 0);
  podman('rm', '-f', 'never');
  const context = writeContext('FROM base\nCOPY added /added\n');
  assert.notEqual(tryPodman('build', '-t', 'never', context).status, 0);
  assert.doesNotMatch(podman('images'), /never/);
});

test('attached, it runs: content, ids, writes, a composefs mount below, and nothing of it in the own storage', () => {
  assert.deepEqual(attach('base'), { status: 0, stdout: '', stderr: '' });
  const before = storageBytes(user);
  podman(
    'create',
    '--name',
    'first',
    'base',
    'sh',
    '-c',
    'stat -c "%u %g %a %s" /data/payload /home/user/file / && sha256sum /data/payload && rm /etc/group && echo x >>/etc/passwd && echo new >/new && cat /new && ls /hidden && { ls /gone 2>&1 || true; }',
  );
  const said = podman('start', '-a', 'first').split('\n');
  assert.deepEqual(said.slice(0, 2), [`0 0 644 ${PAYLOAD}`, '1000 1000 600 240']);
  assert.match(said[2]!, /^0 0 755 /);
  const sum = createHash('sha256')
    .update(readFileSync(join(tree, 'data/payload')))
    .digest('hex');
  assert.deepEqual(said.slice(3), [`${sum}  /data/payload`, 'new', 'above', 'ls: /gone: No such file or directory', '']);
  assert.match(mountsOf(kit.room, user), new RegExp(`/diff ro,nodev,[^\n]* - overlay composefs:${base.digest} `));
  const own = storageBytes(user) - before;
  assert.ok(own < 100_000, `${own} bytes in the user's own storage`);
  podman('rm', 'first');
});

test('attach is idempotent: one mount for an image', () => {
  const count = (): number => mountsOf(kit.room, user).split(`composefs:${base.digest}`).length - 1;
  for (const name of ['base', 'localhost/base:latest', base.digest, idOf('base'), idOf('base').slice(0, 12)])
    assert.deepEqual(attach(name), { status: 0, stdout: '', stderr: '' }, name);
  assert.deepEqual(attach(), { status: 0, stdout: '', stderr: '' });
  assert.equal(count(), 1);
  const { status, stderr } = attach('missing');
  assert.equal(status, 1);
  assert.match(stderr, /has no image missing/);
});

test('exec, diff while it runs, cp, restart, commit, and the committed image', () => {
  podman('run', '-d', '--name', 'long', 'base', 'sleep', '1000');
  podman('exec', 'long', 'sh', '-c', 'echo inside >/made && rm /home/user/file');
  assert.deepEqual(
    podman('diff', 'long').trim().split('\n').sort(),
    ['A /made', 'C /etc', 'C /home', 'C /home/user', 'D /home/user/file'].sort(),
  );
  podman('cp', 'long:/made', join(user.home, 'made'));
  assert.equal(readFileSync(join(user.home, 'made'), 'utf8'), 'inside\n');
  writeFileSync(join(user.home, 'into'), 'from outside\n');
  podman('cp', join(user.home, 'into'), 'long:/into');
  podman('restart', '-t', '0', 'long');
  assert.equal(podman('exec', 'long', 'cat', '/made', '/into'), 'inside\nfrom outside\n');
  podman('commit', '-q', 'long', 'committed');
  podman('rm', '-f', '-t', '0', 'long');
  assert.equal(podman('run', '--rm', 'committed', 'sh', '-c', 'cat /made; ls /home/user'), 'inside\n');
});

test('a child image is built, runs and is saved: the archive gives back every byte of the base', () => {
  const context = writeContext('FROM base\nRUN rm /home/user/file && echo built >/built\nCOPY added /added\n');
  podman('build', '-q', '-t', 'child', context);
  assert.equal(podman('run', '--rm', 'child', 'sh', '-c', 'cat /built /added; ls /home/user'), 'built\nadded\n');
  const own = storageBytes(user);
  assert.ok(own < PAYLOAD, `${own} bytes in the user's own storage`);
  for (const format of ['docker-archive', 'oci-archive']) {
    const archive = join(user.home, `child-${format}`);
    podman('save', '--format', format, '-o', archive, 'child');
    assert.ok(run('tar', '-tf', archive).length > 0);
  }
  // Loaded by somebody who has no such store, it is the same. (A longer path would be too much for podman's sockets.)
  const other = { ...user, home: join(kit.room.path, 'other') };
  for (const path of ['', 'run', 'tmp']) {
    mkdirSync(join(other.home, path));
    chownSync(join(other.home, path), user.uid, user.uid);
  }
  kit.room.configureStorage(other);
  kit.room.output(other, ['podman', 'load', '-q', '-i', join(user.home, 'child-docker-archive')]);
  const look = [
    'podman',
    'run',
    '--rm',
    'child',
    'sh',
    '-c',
    'sha256sum /data/payload; stat -c "%u %g %a %Y" /home/user /data/payload /tmp; cat /built',
  ];
  const theirs = kit.room.output(other, look);
  const ours = kit.room.output(user, look);
  assert.equal(theirs, ours);
});

test('--read-only; and after podman system migrate, attached again, it runs again', () => {
  assert.match(
    podman('run', '--rm', '--read-only', 'base', 'sh', '-c', 'touch /x 2>&1; cat /etc/group'),
    /Read-only[^]*root:x:0:/,
  );
  podman('create', '--name', 'later', 'base', 'echo', 'again');
  migrate();
  assert.doesNotMatch(mountsOf(kit.room, user), /composefs/);
  assert.equal(tryPodman('start', '-a', 'later').status, 125);
  attach();
  assert.equal(podman('start', '-a', 'later'), 'again\n');
  podman('rm', 'later');
});

test('detach: what runs goes on, what starts does not', () => {
  podman('run', '-d', '--name', 'running', 'base', 'sleep', '1000');
  assert.deepEqual(tryPodman('unshare', 'cfsctl', 'detach', '--store', kit.store, 'base'), { status: 0, stdout: '', stderr: '' });
  assert.equal(podman('exec', 'running', 'cat', '/etc/group'), 'root:x:0:\nuser:x:1000:\n');
  assert.equal(tryPodman('run', '--rm', 'base', 'true').status, 126);
  podman('rm', '-f', '-t', '0', 'running');
});

test('doctor counts images as podman lists them', () => {
  run(CFSCTL, 'tag', '--repo', kit.repository, 'base', 'second-name');
  attach();
  const rows = podman('images', '--format', '{{.ReadOnly}}').split('\n');
  const count = rows.filter((each) => each === 'true').length;
  assert.equal(count, 2);
  const said = kit.room.run(user, ['cfsctl', 'doctor', '--store', kit.store]).stdout;
  assert.match(said, new RegExp(`^ok +store +${kit.store} has ${count} images$`, 'm'));
  assert.match(said, new RegExp(`^ok +attached +${count} of ${count} images$`, 'm'));
  run(CFSCTL, 'rm', '--repo', kit.repository, 'second-name');
});

test('a damaged layer: attach names it and attaches the others; exported again, it is attached', async () => {
  migrate();
  const other = kit.add('other', makeRootTree(join(kit.room.path, 'other-tree'), 1000));
  kit.export();
  await kit.trust([base, other]);
  const images = JSON.parse(readFileSync(join(kit.store, 'overlay-images/images.json'), 'utf8')) as {
    names: string[];
    layer: string;
  }[];
  const directory = join(kit.store, 'overlay', images.find(({ names }) => names.includes('localhost/base:latest'))!.layer);
  for (const [damage, because] of [
    [() => writeFileSync(join(directory, 'cfs-layer.json'), '{'), /cfs-layer\.json is damaged/],
    [() => rmSync(join(directory, 'cfs-layer.json')), /has no cfs-layer\.json/],
    [() => rmSync(join(directory, 'empty'), { recursive: true }), /\/empty is missing/],
    [() => rmSync(directory, { recursive: true }), /has no cfs-layer\.json/],
  ] as const) {
    damage();
    const all = attach();
    assert.deepEqual([all.status, all.stdout], [0, '']);
    assert.match(all.stderr, /^cfsctl: left out localhost\/base:latest: [^\n]*\n$/);
    assert.match(all.stderr, because);
    const listed = JSON.parse(attach('--all', '--json').stdout) as { images: string[]; state: string }[];
    assert.deepEqual(listed.map(({ state }) => state).sort(), ['damaged', 'was attached']);
    assert.equal(podman('run', '--rm', 'other', 'cat', '/etc/group'), 'root:x:0:\nuser:x:1000:\n');
    const named = attach('base');
    assert.equal(named.status, 1);
    assert.match(named.stderr, because);
    assert.ok(named.stderr.includes(`hint: sudo cfsctl podman export-store ${kit.store} writes it again`), named.stderr);
    assert.equal(tryPodman('unshare', 'cfsctl', 'detach', '--store', kit.store, '--all').status, 0);
    kit.export();
    assert.deepEqual(attach(), { status: 0, stdout: '', stderr: '' });
    podman('run', '--rm', 'base', 'true');
    migrate();
  }
});

test('trust taken back, a digest never trusted, the service stopped: attach says why, and nothing runs', async () => {
  migrate();
  await kit.trust([]);
  const refused = attach('base');
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /is not trusted for uid/);
  const all = attach();
  assert.equal(all.status, 0);
  assert.match(all.stderr, /left out localhost\/base:latest: .*is not trusted for uid/);
  assert.equal(tryPodman('run', '--rm', 'base', 'true').status, 126);
  await kit.daemon.stop();
  const stopped = attach('base');
  assert.equal(stopped.status, 1);
  assert.match(stopped.stderr, /the service cannot be reached/);
  assert.equal(tryPodman('run', '--rm', 'base', 'true').status, 126);
});

function idOf(name: string): string {
  return podman('image', 'inspect', '--format', '{{.Id}}', name).trim();
}

function writeContext(text: string): string {
  const path = join(kit.room.path, 'context');
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'Containerfile'), text);
  writeFileSync(join(path, 'added'), 'added\n');
  return path;
}
