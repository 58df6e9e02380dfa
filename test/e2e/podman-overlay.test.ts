// Rootless podman with cfs-overlay as its mount_program: images attach by themselves, also for containers with id maps of their own.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';

import { DIST, run } from '../support/machine.js';
import type { TestImage } from '../support/oci-record.js';
import { type PodmanKit, makeRootTree, mountsOf, openPodmanKit, storageBytes, storeLines } from '../support/podman-kit.js';
import type { RoomUser } from '../support/podman.js';
import type { Outcome } from '../support/run-as.js';

const PAYLOAD = 5_000_000;
const LOOK = 'id -u; stat -c "%u %g %a" / /data/payload /home/user/file';
const OWNERS = ['0 0 755', '0 0 644', '1000 1000 600'];
let kit: PodmanKit;
let user: RoomUser;
let base: TestImage;

const podman = (...words: string[]): string => kit.room.output(user, ['podman', ...words]);
const tryPodman = (...words: string[]): Outcome => kit.room.run(user, ['podman', ...words]);
const detach = (): string => podman('unshare', 'cfsctl', 'detach', '--store', kit.store, '--all');
const isAttached = (): boolean => mountsOf(kit.room, user).includes(`composefs:${base.digest}`);

before(async () => {
  kit = await openPodmanKit();
  user = kit.room.users[0]!;
  base = kit.add('base', makeRootTree(join(kit.room.path, 'tree'), PAYLOAD));
  kit.export();
  await kit.trust([base]);
  kit.room.configureStorage(user, storeLines(kit.store, true));
});
after(() => kit?.close());

test('podman run attaches the image by itself; again, it finds it attached', () => {
  assert.equal(podman('run', '--rm', 'base', 'sh', '-c', LOOK), ['0', ...OWNERS, ''].join('\n'));
  assert.equal(isAttached(), true);
  assert.equal(podman('run', '--rm', 'base', 'cat', '/etc/group'), 'root:x:0:\nuser:x:1000:\n');
  assert.equal(mountsOf(kit.room, user).split(`composefs:${base.digest}`).length - 1, 1);
});

for (const [map, uid] of [
  ['keep-id', () => user.uid],
  ['auto', () => 0],
] as const)
  test(`--userns=${map}: the image shows its ids, writes work, and no payload is copied`, () => {
    detach();
    const before = storageBytes(user);
    podman('create', '--name', map, `--userns=${map}`, 'base', 'sh', '-c', `${LOOK}; echo mine >/tmp/new && stat -c %u /tmp/new`);
    const said = podman('start', '-a', map).trim().split('\n');
    assert.deepEqual(said, [String(uid()), ...OWNERS, String(uid())]);
    const own = storageBytes(user) - before;
    assert.ok(own < 100_000, `${own} bytes in the user's own storage`);
    podman('rm', map);
  });

test('exec, diff while it runs, cp, restart, commit, build FROM it, the child, save', () => {
  podman('run', '-d', '--name', 'long', 'base', 'sleep', '1000');
  podman('exec', 'long', 'sh', '-c', 'echo inside >/made && rm /home/user/file');
  assert.deepEqual(podman('diff', 'long').trim().split('\n').sort(), [
    'A /made',
    'C /etc',
    'C /home',
    'C /home/user',
    'D /home/user/file',
  ]);
  podman('cp', 'long:/made', join(user.home, 'made'));
  assert.equal(readFileSync(join(user.home, 'made'), 'utf8'), 'inside\n');
  podman('restart', '-t', '0', 'long');
  assert.equal(podman('exec', 'long', 'cat', '/made'), 'inside\n');
  podman('commit', '-q', 'long', 'committed');
  podman('rm', '-f', '-t', '0', 'long');
  assert.equal(podman('run', '--rm', 'committed', 'sh', '-c', 'cat /made; ls /home/user'), 'inside\n');
  const context = join(kit.room.path, 'context');
  mkdirSync(context, { recursive: true });
  writeFileSync(join(context, 'Containerfile'), 'FROM base\nRUN rm /home/user/file && echo built >/built\n');
  podman('build', '-q', '-t', 'child', context);
  assert.equal(podman('run', '--rm', 'child', 'sh', '-c', 'cat /built; ls /home/user'), 'built\n');
  assert.equal(podman('run', '--rm', '--userns=keep-id', 'child', 'sh', '-c', 'cat /built; ls /home/user'), 'built\n');
  const own = storageBytes(user);
  assert.ok(own < PAYLOAD, `${own} bytes in the user's own storage`);
  podman('save', '-q', '-o', join(user.home, 'child.tar'), 'child');
  assert.ok(Number(run('stat', '-c', '%s', join(user.home, 'child.tar'))) > PAYLOAD);
});

test('after podman system migrate it runs again, without a word', () => {
  podman('create', '--name', 'later', 'base', 'echo', 'again');
  podman('system', 'migrate');
  assert.equal(isAttached(), false);
  assert.equal(podman('start', '-a', 'later'), 'again\n');
  podman('rm', 'later');
});

test('containers that start at the same time share one mount', async () => {
  detach();
  const words = ['podman', 'run', '--rm', 'base', 'cat', '/etc/group'];
  const outcomes = await Promise.all(Array.from({ length: 6 }, () => kit.room.runBeside(user, words)));
  for (const { status, stderr } of outcomes) assert.equal(status, 0, stderr);
  assert.equal(mountsOf(kit.room, user).split(`composefs:${base.digest}`).length - 1, 1);
});

test('layers that are not ours are mounted by fuse-overlayfs alone: the service is not asked', () => {
  const archive = join(kit.room.path, 'own.tar');
  run('tar', '-C', join(kit.room.path, 'tree'), '-cf', archive, 'bin', 'etc');
  podman('import', '-q', archive, 'own');
  const before = kit.daemon.audits().length;
  assert.equal(podman('run', '--rm', 'own', '/bin/cat', '/etc/group'), 'root:x:0:\nuser:x:1000:\n');
  assert.equal(kit.daemon.audits().length, before);
});

test('a layer whose mark is damaged, or gone, does not become an empty root', () => {
  detach();
  const directory = join(
    kit.store,
    'overlay',
    run('ls', join(kit.store, 'overlay'))
      .split('\n')
      .find((name) => name.length === 64)!,
  );
  const marker = join(directory, 'cfs-layer.json');
  const text = readFileSync(marker, 'utf8');
  for (const damaged of ['', '{"version":1}', text.replace('sha256:', 'sha256:ff')]) {
    writeFileSync(marker, damaged);
    const { status, stderr } = tryPodman('run', '--rm', 'base', 'true');
    assert.equal(status, 126);
    assert.match(stderr, /cfs-overlay: .*cfs-layer\.json is damaged/);
  }
  const close = (): void => chmodSync(marker, 0);
  const replaceByDirectory = (): void => {
    rmSync(marker);
    mkdirSync(marker);
  };
  for (const [damage, because] of [
    [close, 'EACCES'],
    [replaceByDirectory, 'EISDIR'],
  ] as const) {
    damage();
    const { status, stderr } = tryPodman('run', '--rm', 'base', 'true');
    assert.equal(status, 126);
    assert.match(
      stderr,
      new RegExp(
        `cfs-overlay: .*cfs-layer\\.json cannot be read \\(${because}\\) \\(sudo cfsctl podman export-store ${kit.store} `,
      ),
    );
    assert.doesNotMatch(stderr, /^ +at /m);
  }
  rmSync(marker, { recursive: true });
  const { status, stderr } = tryPodman('run', '--rm', 'base', 'true');
  assert.equal(status, 126);
  assert.match(stderr, /cfs-overlay: the layer at .* is damaged/);
  writeFileSync(marker, text);
});

test('what podman would never say is refused', () => {
  const overlay = (...words: string[]): Outcome => tryPodman('unshare', join(DIST, 'cfs-overlay'), ...words);
  const loop = join(user.home, 'loop/diff');
  mkdirSync(dirname(loop));
  symlinkSync('diff', loop);
  for (const [options, because] of [
    ['lowerdir=/a,lowerdir=/b', /lowerdir is given twice/],
    ['lowerdir=/a\\:/b', /has a backslash/],
    ['lowerdir=/nowhere/at/all', /cannot be read \(ENOENT\)/],
    [`lowerdir=${loop}`, /^cfs-overlay: ELOOP: [^\n]*\n$/],
  ] as const) {
    const { status, stderr } = overlay('-o', options, join(user.home, 'tmp'));
    assert.equal(status, 1, options);
    assert.match(stderr, because);
  }
});

test('trust taken back: an attached image does not start again, and podman shows the reason', async () => {
  podman('run', '--rm', 'base', 'true');
  await kit.trust([]);
  const { status, stderr } = tryPodman('run', '--rm', 'base', 'true');
  assert.equal(status, 126);
  assert.match(stderr, /cfs-overlay: .*is not trusted for uid/);
  assert.equal(isAttached(), false);
  assert.match(tryPodman('run', '--rm', 'child', 'true').stderr, /cfs-overlay: .*is not trusted for uid/);
});

test('the service stopped: no container starts, and podman shows the reason', async () => {
  await kit.daemon.stop();
  const { status, stderr } = tryPodman('run', '--rm', 'base', 'true');
  assert.equal(status, 126);
  assert.match(stderr, /cfs-overlay: the service cannot be reached/);
});
