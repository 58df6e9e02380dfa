// fs-verity as the kernel has it: what it measures is believed, and an object that is not what the image says is never read.
import assert from 'node:assert/strict';
import {
  chownSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import type { OwnedFd } from '../../../client/index.js';
import { type Actor } from '../../support/actor.js';
import { digestOfFile, policyText } from '../../support/images.js';
import type { Kit } from '../../support/kit.js';
import { run } from '../../support/machine.js';
import { setXattr } from '../../support/source-tree.js';
import { describeTree } from '../../support/tree.js';
import { ALICE, manyIdsActor, writePolicy } from '../guest.js';

const REPOSITORY = '/var/lib/cfsmountd/repo';
const TREE = '/var/tmp/tree';
/** Around what is kept in the image itself (64 bytes) and the blocks of the disk and of fs-verity. */
const SIZES = [0, 1, 64, 65, 4095, 4096, 4097, 100_000, 3_000_000];
let alice: Actor;
let image: string;

const contents = (seed: string, size: number): string => `${seed} `.repeat(Math.ceil(size / (seed.length + 1))).slice(0, size);

function makeTree(): void {
  for (const directory of ['', 'bin', 'deep/er', 'empty']) mkdirSync(join(TREE, directory), { recursive: true });
  for (const size of SIZES) writeFileSync(join(TREE, 'deep', `file-${size}`), contents(`file ${size}`, size));
  for (const change of CHANGES) writeFileSync(join(TREE, change.name), contents(change.name, 20_000));
  writeFileSync(join(TREE, 'bin/program'), contents('program', 5000), { mode: 0o755 });
  chownSync(join(TREE, 'deep/er'), 5, 6);
  chownSync(join(TREE, 'deep/file-4097'), 1000, 7);
  linkSync(join(TREE, 'deep/file-100000'), join(TREE, 'deep/er/again'));
  symlinkSync('../deep/file-65', join(TREE, 'bin/link'));
  setXattr(join(TREE, 'deep/file-65'), 'user.note', Buffer.from('kept'));
  utimesSync(join(TREE, 'empty'), 1_000_000_000, 1_000_000_000.25);
}

interface Change {
  /** Of the file in the tree. */
  readonly name: string;
  /** Leaves this at the place of the file's object; `old` are its bytes. */
  readonly apply: (object: string, old: Buffer) => void;
}

const evil = (old: Buffer): Buffer => Buffer.from(old.map((byte) => byte ^ 0xff));
const sealed = (object: string, bytes: Buffer): void => {
  writeFileSync(object, bytes);
  run('fsverity', 'enable', object);
};
const CHANGES: readonly Change[] = [
  { name: 'other bytes, without verity', apply: (object, old) => writeFileSync(object, evil(old)) },
  { name: 'other bytes, with verity', apply: (object, old) => sealed(object, evil(old)) },
  { name: 'the same bytes, without verity', apply: (object, old) => writeFileSync(object, old) },
  { name: 'removed', apply: () => {} },
  { name: 'truncated, without verity', apply: (object, old) => writeFileSync(object, old.subarray(0, 10_000)) },
  { name: 'truncated, with verity', apply: (object, old) => sealed(object, old.subarray(0, 10_000)) },
  { name: 'emptied', apply: (object) => writeFileSync(object, '') },
];

const objectOf = (path: string): string => {
  const hex = digestOfFile(path).slice('sha256:'.length);
  return join(REPOSITORY, 'objects', hex.slice(0, 2), hex.slice(2));
};

before(async () => {
  makeTree();
  run('cfsctl', 'import', TREE, 'tree');
  image = run('readlink', '-f', join(REPOSITORY, 'images/refs/tree')).trim();
  trust([digestOfFile(image)]);
  alice = await manyIdsActor(ALICE);
  await alice.do(({ fs, mount, file, client, store }) => {
    const attr = mount.fsopen('tmpfs');
    mount.fsconfigCreate(attr);
    const room = mount.fsmount(attr, 0);
    mount.moveMount(room, null, '/mnt');
    for (const one of [attr, room]) one.close();
    for (const name of ['before', 'after', 'own', 'unsealed', 'tmpfs-store']) fs.mkdirSync(`/mnt/${name}`);
    store['client'] = client.connect();
    void file;
  }, null);
});
after(() => alice?.stop());

function trust(digests: readonly string[]): void {
  writePolicy(policyText({ digests, repositories: { [REPOSITORY]: 'verity' } }));
}

/** Mounts the image of the repository; returns who measured it. */
function mountTree({ client, store }: Kit, where: string): string {
  const { mount, result } = (store['client'] as ReturnType<typeof client.connect>).mountImage('tree');
  client.attach(mount, where);
  mount.close();
  return result.verified;
}

/** Contents by name, or the code of the error. */
function readAll({ fs }: Kit, paths: readonly string[]): string[] {
  return paths.map((path) => {
    try {
      return fs.readFileSync(path, 'utf8');
    } catch (error) {
      return String((error as { code?: string }).code);
    }
  });
}

test('the kernel measures the image, and the tree equals its source', async () => {
  assert.match(run('fsverity', 'measure', image), /^sha256:/);
  assert.equal(await alice.do(mountTree, '/mnt/before'), 'kernel');
  const shown = await alice.do(({ tree }) => tree.describeTree('/mnt/before'), null);
  assert.deepEqual(shown, JSON.parse(JSON.stringify(describeTree(TREE))));
});

test('an object that is not what the image says: EIO or ENOENT, on a mount from before and on one from after', async () => {
  for (const { name, apply } of CHANGES) {
    const object = objectOf(join(TREE, name));
    const old = readFileSync(object);
    rmSync(object);
    apply(object, old);
  }
  run('sh', '-c', 'echo 3 >/proc/sys/vm/drop_caches'); // what the tree's comparison has read
  assert.equal(await alice.do(mountTree, '/mnt/after'), 'kernel');
  for (const place of ['before', 'after']) {
    const paths = [...CHANGES.map(({ name }) => `/mnt/${place}/${name}`), `/mnt/${place}/deep/file-100000`];
    const read = await alice.do(readAll, paths);
    assert.equal(read.pop(), contents('file 100000', 100_000), 'others are read');
    read.forEach((got, i) => {
      const { name } = CHANGES[i]!;
      const expected = name === 'removed' ? 'ENOENT' : 'EIO';
      // An overlay that has looked a file up keeps the object it found: the right bytes, or what has become of the place.
      const fine = place === 'before' ? [expected, contents(name, 20_000)] : [expected];
      assert.ok(fine.includes(got), `${place}, ${name}: ${got.slice(0, 40)}`);
    });
  }
});

const OWN = '/home/alice';

function makeOwnStore(): void {
  mkdirSync(join(OWN, 'tree'));
  writeFileSync(join(OWN, 'tree/big'), contents('own', 50_000));
  run('chown', '-R', 'alice:alice', join(OWN, 'tree'));
  const asAlice = ['-u', 'alice', '--', 'sh', '-ec'];
  run('runuser', ...asAlice, `cd ${OWN} && cfsctl mkfs --digest-store store tree own.cfs && cp -r store unsealed`);
  trust([digestOfFile(image), digestOfFile(join(OWN, 'own.cfs'))]);
}

/** Mounts the user's own image over its own store. Returns what is read of its file, or what the refusal says. */
function mountOwn({ client, fs, store, file }: Kit, { objects, where }: { objects: string; where: string }): string {
  const opened = file.openPath('/home/alice/own.cfs', file.O_RDONLY);
  const stores = client.openObjectStores([objects]);
  try {
    const { mount } = (store['client'] as ReturnType<typeof client.connect>).mountFile(opened, stores.fds);
    client.attach(mount, where);
    mount.close();
    return fs.readFileSync(`${where}/big`, 'utf8');
  } catch (error) {
    return String((error as { code?: string }).code);
  } finally {
    stores[Symbol.dispose]();
    opened.close();
  }
}

test('a user’s own store in its home: with verity it works, without it is refused', async () => {
  makeOwnStore();
  assert.equal(await alice.do(mountOwn, { objects: `${OWN}/store`, where: '/mnt/own' }), contents('own', 50_000));
  assert.equal(await alice.do(mountOwn, { objects: `${OWN}/unsealed`, where: '/mnt/unsealed' }), 'EIO', 'objects without verity');
  const onTmpfs = { objects: '/mnt/tmpfs-store', where: '/mnt/unsealed' };
  assert.equal(await alice.do(mountOwn, onTmpfs), 'NotSupported', 'a file system without verity');
});

test('a user’s sealed object, swapped for another sealed one: EIO, not the other’s bytes', async () => {
  const store = run('find', `${OWN}/store`, '-type', 'f').trim();
  copyFileSync(store, `${OWN}/kept`);
  const other = contents('EVIL', 50_000);
  rmSync(store);
  sealed(store, Buffer.from(other));
  chownSync(store, ALICE, ALICE);
  assert.equal(await alice.do(mountOwn, { objects: `${OWN}/store`, where: '/mnt/own' }), 'EIO');
  rmSync(store);
  copyFileSync(`${OWN}/kept`, store);
  run('fsverity', 'enable', store);
  assert.equal(await alice.do(mountOwn, { objects: `${OWN}/store`, where: '/mnt/own' }), contents('own', 50_000));
});

test('a user’s sealed image file is measured by the kernel as well, and cannot be changed', async () => {
  run('runuser', '-u', 'alice', '--', 'fsverity', 'enable', `${OWN}/own.cfs`);
  assert.throws(() => truncateSync(`${OWN}/own.cfs`, 0), { code: 'EPERM' });
  const verified = await alice.do(({ client, file, store }) => {
    const opened = file.openPath('/home/alice/own.cfs', file.O_RDONLY);
    const stores = client.openObjectStores(['/home/alice/store']);
    const { mount, result } = (store['client'] as ReturnType<typeof client.connect>).mountFile(opened, stores.fds);
    for (const one of [mount as OwnedFd, opened]) one.close();
    stores[Symbol.dispose]();
    return result.verified;
  }, null);
  assert.equal(verified, 'kernel');
});
