// cfsctl mkfs on a file system whose files can share blocks.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { CFSCTL } from '../support/cfsctl.js';
import { requirePrivileges, run } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';

requirePrivileges();
const scratch = makeScratch();
const disk = join(scratch.path, 'disk');
const sizes = [65, 4096, 100_000, 20 << 20];

before(() => {
  mkdirSync(disk);
  writeFileSync(`${disk}.img`, '');
  truncateSync(`${disk}.img`, 400 << 20);
  run('mkfs.xfs', '-q', '-m', 'reflink=1', `${disk}.img`);
  run('mount', '-o', 'loop', `${disk}.img`, disk);
  for (const place of [disk, scratch.path]) {
    mkdirSync(join(place, 'tree'));
    for (const size of sizes) writeFileSync(join(place, 'tree', `${size}`), randomBytes(size));
  }
  run('sync', '-f', disk);
});
after(() => {
  run('umount', disk);
  scratch.remove();
});

/** Paths of the objects of a store that mkfs made of a tree; it verifies. */
function makeStore(tree: string, store: string): string[] {
  run(CFSCTL, 'mkfs', '--digest-store', store, tree, `${store}.cfs`);
  run(CFSCTL, 'verify', `${store}.cfs`, store);
  const directories = readdirSync(store);
  return directories.flatMap((name) => readdirSync(join(store, name)).map((rest) => join(store, name, rest)));
}

const isShared = (path: string): boolean => /\bshared\b/.test(run('filefrag', '-v', path));

test('objects share the blocks of the files they come from', () => {
  const objects = makeStore(join(disk, 'tree'), join(disk, 'store'));
  assert.equal(objects.length, sizes.length);
  assert.deepEqual(
    objects.map(isShared),
    objects.map(() => true),
  );
  // And not their fate.
  const file = join(disk, 'tree/100000');
  const before = readFileSync(file);
  writeFileSync(file, randomBytes(100_000));
  assert.equal(objects.filter((object) => readFileSync(object).equals(before)).length, 1);
});

test('files of another file system are copied', () => {
  const objects = makeStore(join(scratch.path, 'tree'), join(disk, 'copies'));
  assert.equal(objects.length, sizes.length);
  assert.deepEqual(
    objects.map(isShared),
    objects.map(() => false),
  );
});
