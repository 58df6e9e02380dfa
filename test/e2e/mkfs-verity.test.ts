// cfsctl mkfs on a file system with fs-verity.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { CFSCTL } from '../support/cfsctl.js';
import { requirePrivileges, run } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';

requirePrivileges();
const scratch = makeScratch();
const SIZES = [65, 4096, 4097, 20 << 20];

const skip = existsSync('/sys/fs/ext4/features/verity')
  ? false
  : 'NOT CHECKED: this kernel is built without fs-verity (CONFIG_FS_VERITY)';
if (skip !== false) console.error(skip);

const mounted: string[] = [];

function makeDisk(name: string, blockSize: number): string {
  const disk = join(scratch.path, name);
  mkdirSync(disk);
  writeFileSync(`${disk}.img`, '');
  truncateSync(`${disk}.img`, 200 << 20);
  run('mkfs.ext4', '-q', '-b', String(blockSize), '-O', 'verity', `${disk}.img`);
  run('mount', '-o', 'loop', `${disk}.img`, disk);
  mounted.push(disk);
  return disk;
}

before(() => {
  mkdirSync(join(scratch.path, 'tree'));
  for (const size of SIZES) writeFileSync(join(scratch.path, 'tree', `${size}`), randomBytes(size));
});
after(() => {
  for (const disk of mounted) run('umount', disk);
  scratch.remove();
});

/** Objects of a store that mkfs made of the tree, as `xx/rest`. */
function makeObjects(disk: string): string[] {
  run(CFSCTL, 'mkfs', '--digest-store', join(disk, 'store'), join(scratch.path, 'tree'), join(disk, 'image.cfs'));
  run(CFSCTL, 'verify', join(disk, 'image.cfs'), join(disk, 'store'));
  const directories = readdirSync(join(disk, 'store'));
  return directories.flatMap((name) => readdirSync(join(disk, 'store', name)).map((rest) => `${name}/${rest}`));
}

test('objects have fs-verity, their digest is their name, and nobody can write to them', { skip }, () => {
  const disk = makeDisk('verity', 4096);
  const objects = makeObjects(disk);
  assert.equal(objects.length, SIZES.length);
  for (const object of objects) {
    const path = join(disk, 'store', object);
    assert.equal(run('fsverity', 'measure', path), `sha256:${object.replace('/', '')} ${path}\n`);
    assert.throws(() => writeFileSync(path, 'x', { flag: 'r+' }), { code: 'EPERM' });
  }
  run('umount', mounted.pop()!);
  run('e2fsck', '-f', '-n', `${disk}.img`);
});

test('objects without it, where the blocks of the file system are too small', { skip }, () => {
  const disk = makeDisk('small-blocks', 1024);
  assert.equal(makeObjects(disk).length, SIZES.length);
});
