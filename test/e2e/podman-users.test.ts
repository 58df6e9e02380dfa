// Three users at the same time on one store: each has the ids of its own namespace, and all read one copy of every file (fuse-overlayfs keeps a second while its container runs).
import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { run } from '../support/machine.js';
import type { TestImage } from '../support/oci-record.js';
import { type PodmanKit, makeRootTree, mountsOf, openPodmanKit, storageBytes, storeLines } from '../support/podman-kit.js';
import type { RoomUser } from '../support/podman.js';

const PAYLOAD = 40_000_000;
let kit: PodmanKit;
let base: TestImage;
let tree: string;

const podman = (user: RoomUser, ...words: string[]): string => kit.room.output(user, ['podman', ...words]);
const attach = (user: RoomUser): string => podman(user, 'unshare', 'cfsctl', 'attach', '--store', kit.store, '--all');

before(async () => {
  kit = await openPodmanKit(3);
  tree = makeRootTree(join(kit.room.path, 'tree'), PAYLOAD);
  base = kit.add('base', tree);
  kit.export();
  await kit.trust([base]);
  // The last one with the mount_program, the others with the kernel's overlay: the store is the same.
  for (const [index, user] of kit.room.users.entries()) {
    kit.room.configureStorage(user, storeLines(kit.store, index === 2));
    if (index < 2) attach(user);
  }
});
after(() => kit?.close());

test('all run the image at the same time, each with its own ids on the host', async () => {
  const words = [
    'podman',
    'run',
    '--rm',
    'base',
    'sh',
    '-c',
    'stat -c "%u %g" /home/user/file /; touch /tmp/new; stat -c %u /tmp/new; sleep 1',
  ];
  const outcomes = await Promise.all(kit.room.users.map((user) => kit.room.runBeside(user, words)));
  for (const { status, stdout, stderr } of outcomes) assert.deepEqual([status, stdout, stderr], [0, '1000 1000\n0 0\n0\n', '']);
  for (const user of kit.room.users) {
    const maps = podman(user, 'unshare', 'cat', '/proc/self/uid_map');
    assert.match(maps, new RegExp(`^ +0 +${user.uid} +1\n +1 +${user.subordinate} `));
    assert.match(mountsOf(kit.room, user), new RegExp(`composefs:${base.digest}`));
    assert.ok(storageBytes(user) < 1_000_000, `${storageBytes(user)} bytes of ${user.name}'s own`);
  }
});

/** Bytes of the page cache that hold the object of the payload, as fincore(1) tells. */
function cachedBytes(object: string): number {
  return Number(run('fincore', '--bytes', '--noheadings', '--output', 'RES', object).trim());
}

/** fadvise(2) POSIX_FADV_DONTNEED. */
function evict(object: string): void {
  run('dd', `of=${object}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0', 'status=none');
  assert.ok(cachedBytes(object) < PAYLOAD / 10, 'the object has left the page cache');
}

/** Bytes of all page caches of the machine. */
function cachedBytesOf(meminfo: string): number {
  return 1024 * Number(/^Cached: +([0-9]+) kB$/m.exec(meminfo)![1]);
}

test('what any user reads is in the page cache as the one object of the repository, and for another no second time', () => {
  const big = ['-size', `+${Math.floor(PAYLOAD / 2)}c`];
  const [object = '', ...others] = run('find', kit.room.path, '-path', tree, '-prune', '-o', '-type', 'f', ...big, '-print')
    .trim()
    .split('\n');
  assert.deepEqual(others, [], 'there is no second file of that size, in the storage of any user');
  assert.ok(object.startsWith(join(kit.repository, 'objects')));
  for (const user of kit.room.users) {
    evict(object);
    podman(user, 'run', '--rm', 'base', 'sha256sum', '/data/payload');
    assert.ok(cachedBytes(object) >= PAYLOAD, `${user.name}: ${cachedBytes(object)} bytes are cached`);
  }
  evict(object);
  const grown = kit.room.users.slice(0, 2).map((user) => {
    const before = cachedBytesOf(readFileSync('/proc/meminfo', 'utf8'));
    const script = 'cat /data/payload >/dev/null; cat /proc/meminfo';
    return cachedBytesOf(podman(user, 'run', '--rm', 'base', 'sh', '-c', script)) - before;
  }) as [number, number];
  assert.ok(grown[0] > 0.9 * PAYLOAD && grown[1] < 0.1 * PAYLOAD, `${grown.join(' and ')} bytes more are cached`);
});

test('ten images that share a base take the room of one', async () => {
  const used = (): number =>
    run('du', '-sB1', kit.repository, kit.store)
      .trim()
      .split('\n')
      .reduce((sum, line) => sum + Number(line.split('\t')[0]), 0);
  const images = [base];
  const before = used();
  for (let index = 0; index < 10; index += 1) {
    const copy = join(kit.room.path, `tree-${index}`);
    cpSync(tree, copy, { recursive: true, verbatimSymlinks: true });
    writeFileSync(join(copy, 'etc/version'), `${index}`.repeat(10_000));
    images.push(kit.add(`similar/${index}`, copy));
  }
  kit.export();
  await kit.trust(images);
  const grown = used() - before;
  assert.ok(grown < 2_000_000, `${grown} bytes more for 10 images of ${PAYLOAD} bytes each`);
  const [first] = kit.room.users as [RoomUser];
  attach(first);
  assert.match(podman(first, 'run', '--rm', 'similar/7', 'cat', '/etc/version'), /^7{10000}$/);
});
