// The bindings for single objects: files, namespaces, loop devices, inotify, fs-verity, names.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { isErrno } from '../../core/kernel/error.js';
import type { OwnedFd } from '../../core/kernel/fd.js';
import * as file from '../../core/kernel/file.js';
import { gidOf, nameOfUid, uidOf } from '../../core/kernel/identity.js';
import { createInotify, IN_IGNORED, readInotify, removeWatch, watchUnmount } from '../../core/kernel/inotify.js';
import { attachLoop } from '../../core/kernel/loop.js';
import {
  CLONE_NEWNS,
  CLONE_NEWUSER,
  namespaceType,
  owningUserns,
  usernsOwner,
  usernsParent,
} from '../../core/kernel/namespace.js';
import { fileSystemMagic, sameInode, statAt, statFd } from '../../core/kernel/stat.js';
import { enableVerity, measureVerity } from '../../core/kernel/verity.js';
import { requirePrivileges } from '../support/machine.js';

let path: string;
let directory: OwnedFd;
before(() => {
  requirePrivileges();
  path = mkdtempSync(join(tmpdir(), 'cfsmountd-objects-'));
  directory = file.openPath(path, file.O_RDONLY | file.O_DIRECTORY);
  mkdirSync(join(path, 'inside'));
  writeFileSync(join(path, 'inside/file'), 'content');
  symlinkSync('/etc', join(path, 'out'));
  symlinkSync('inside', join(path, 'link'));
});
after(() => {
  directory.close();
  rmSync(path, { recursive: true });
});

for (const escape of ['../etc', 'out/passwd', 'link/file', '/etc/passwd', 'inside/../../etc']) {
  test(`openBeneath refuses ${escape}`, () => {
    assert.throws(
      () => file.openBeneath(directory, escape, file.O_RDONLY),
      (error) => isErrno(error, 'EXDEV', 'ELOOP'),
    );
  });
}

test('openBeneath opens what is below', () => {
  using opened = file.openBeneath(directory, 'inside/file', file.O_RDONLY);
  const buffer = Buffer.alloc(16);
  assert.equal(buffer.toString('latin1', 0, file.readAt(opened, buffer, 3)), 'tent');
  assert.equal(file.readLinkAt(directory, 'out'), '/etc');
  assert.ok(sameInode(statFd(opened), statAt(directory, 'inside/file')));
  assert.equal(statFd(opened).size, 7);
});

test('an unnamed file gets its name when it is whole, and a taken name is refused', () => {
  using unnamed = file.openUnnamed(directory);
  file.writeAllAt(unnamed, Buffer.from('copied'), 0);
  file.linkUnnamed(unnamed, directory, 'named');
  assert.equal(readFileSync(join(path, 'named'), 'latin1'), 'copied');
  assert.equal(statFd(unnamed).permissions, 0o600);
  assert.throws(
    () => file.linkUnnamed(unnamed, directory, 'named'),
    (error) => isErrno(error, 'EEXIST'),
  );
  file.unlinkAt(directory, 'named');
});

test('namespaces are told apart, and the initial user namespace has no parent', () => {
  using user = file.openPath('/proc/self/ns/user', file.O_RDONLY);
  using mounts = file.openPath('/proc/self/ns/mnt', file.O_RDONLY);
  assert.equal(namespaceType(user), CLONE_NEWUSER);
  assert.equal(namespaceType(mounts), CLONE_NEWNS);
  assert.equal(namespaceType(directory), undefined);
  assert.equal(usernsOwner(user), 0);
  assert.equal(usernsParent(user), undefined);
  using owner = owningUserns(mounts);
  assert.ok(sameInode(statFd(owner), statFd(user)));
});

test('a loop device shows the file and goes away with its last user', () => {
  const image = join(path, 'loop.img');
  writeFileSync(image, Buffer.alloc(65536, 'x'));
  using backing = file.openPath(image, file.O_RDONLY);
  let number: bigint;
  {
    using loop = attachLoop(backing);
    number = statFd(loop).rdev & 0xffff_ffffn;
    assert.equal(statFd(loop).type, 'block');
    const buffer = Buffer.alloc(4);
    assert.equal(file.readAt(loop, buffer, 0), 4);
    assert.equal(buffer.toString('latin1'), 'xxxx');
    assert.equal(readFileSync(`/sys/block/loop${number}/loop/backing_file`, 'latin1').trim(), image);
    assert.equal(readFileSync(`/sys/block/loop${number}/ro`, 'latin1').trim(), '1');
  }
  assert.throws(() => readFileSync(`/sys/block/loop${number}/loop/backing_file`), { code: 'ENOENT' });
});

test('a removed watch is reported as ignored', () => {
  using inotify = createInotify();
  assert.deepEqual(readInotify(inotify), []);
  const watch = watchUnmount(inotify, path);
  removeWatch(inotify, watch);
  assert.deepEqual(readInotify(inotify), [{ watch, mask: IN_IGNORED }]);
});

test('fs-verity: the kernel measures a file, or says that it cannot', () => {
  using opened = file.openBeneath(directory, 'inside/file', file.O_RDONLY);
  const before = measureVerity(opened).state;
  assert.notEqual(before, 'enabled');
  if (before === 'unsupported') {
    assert.throws(
      () => enableVerity(opened, 'sha256'),
      (error) => isErrno(error, 'EOPNOTSUPP', 'ENOTTY'),
    );
    return;
  }
  enableVerity(opened, 'sha256');
  assert.equal(measureVerity(opened).state, 'enabled');
});

test('names of users and groups are looked up, unknown ones are not there', () => {
  assert.equal(uidOf('root'), 0);
  assert.equal(gidOf('root'), 0);
  assert.equal(nameOfUid(0), 'root');
  assert.equal(uidOf('no-such-user'), undefined);
  assert.equal(gidOf('no-such-group'), undefined);
  assert.throws(() => uidOf('ro\0ot'), /NUL/);
});

test('a file system is known by its magic', () => {
  using proc = file.openPath('/proc', file.O_RDONLY | file.O_DIRECTORY);
  assert.equal(fileSystemMagic(proc), 0x9fa0);
});
