// cfsctl setup podman: what becomes of a user's files, whatever they are.
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';

import { type Room, type RoomUser, makeEmptyStore, openRoom, writeOwn } from '../support/podman.js';

let room: Room;
let user: RoomUser;
let store: string;

before(async () => {
  room = await openRoom();
  user = room.users[0]!;
  store = join(room.path, 'store');
  makeEmptyStore(store);
});
after(() => room?.close());
beforeEach(() => {
  for (const path of ['.config', '.local', 'dotfiles', 'run/libpod', 'run/containers'])
    rmSync(join(user.home, path), { recursive: true, force: true });
});

const STORAGE_CONF = '.config/containers/storage.conf';
const DROP_IN = '.config/containers/containers.conf.d/50-cfsctl.conf';
const setup = (...words: string[]) => room.run(user, ['cfsctl', 'setup', 'podman', '--store', store, ...words]);
const read = (path: string): string => readFileSync(join(user.home, path), 'utf8');
const has = (path: string): boolean => existsSync(join(user.home, path));

test('one of the files cannot be written: neither is changed, and that is said', () => {
  mkdirSync(join(user.home, DROP_IN, '..'), { recursive: true });
  for (const path of ['.config', '.config/containers']) chownSync(join(user.home, path), user.uid, user.uid);
  const refused = setup('--write');
  const says = /50-cfsctl\.conf cannot be written \(EACCES\); there were changes before it, and they were taken back/;
  assert.match(refused.stderr, says);
  assert.deepEqual([refused.status, has(STORAGE_CONF), has(DROP_IN)], [1, false, false]);
  chownSync(join(user.home, DROP_IN, '..'), user.uid, user.uid);
  assert.equal(setup('--write').status, 0);
  const written = read(STORAGE_CONF);
  chmodSync(join(user.home, STORAGE_CONF), 0o600);
  chownSync(join(user.home, DROP_IN, '..'), 0, 0);
  assert.match(setup('--undo', '--write').stderr, says);
  assert.equal(read(STORAGE_CONF), written);
  const { mode, uid } = statSync(join(user.home, STORAGE_CONF));
  assert.deepEqual([mode & 0o777, uid], [0o600, user.uid]);
});

test('what a kill between the two files leaves is completed when it is run again', () => {
  setup('--write');
  rmSync(join(user.home, DROP_IN));
  assert.equal(setup('--write').status, 0);
  assert.deepEqual([has(STORAGE_CONF), has(DROP_IN)], [true, true]);
  rmSync(join(user.home, STORAGE_CONF));
  assert.equal(setup('--undo', '--write').status, 0);
  assert.deepEqual([has(STORAGE_CONF), has(DROP_IN)], [false, false]);
});

test('the copy is what the user had, and is written over only by what the user has written since', () => {
  const copy = `${STORAGE_CONF}.before-cfsctl`;
  const another = join(room.path, 'another');
  makeEmptyStore(another);
  const mine = '[storage]\ndriver = "overlay" # mine\n';
  writeOwn(user, STORAGE_CONF, mine);
  assert.match(setup('--write').stdout, /^what was there: .*storage\.conf\.before-cfsctl$/m);
  assert.doesNotMatch(room.run(user, ['cfsctl', 'setup', 'podman', '--store', another, '--write']).stdout, /what was there/);
  assert.ok(read(STORAGE_CONF).includes(another));
  assert.equal(read(copy), mine);
  assert.equal(room.run(user, ['cfsctl', 'setup', 'podman', '--undo', '--write']).status, 0);
  assert.deepEqual([read(STORAGE_CONF), read(copy)], [mine, mine]);
  writeOwn(user, STORAGE_CONF, `# later\n${mine}`);
  setup('--write');
  assert.equal(read(copy), `# later\n${mine}`);
});

test('a store that the user has named stays, and that is said', () => {
  const mine = `[storage]\ndriver = "overlay"\n[storage.options]\nadditionalimagestores = ["${store}"]\n`;
  writeOwn(user, STORAGE_CONF, mine);
  assert.equal(setup('--write').status, 0);
  const { stdout } = setup('--undo', '--write');
  assert.ok(stdout.includes(`storage.conf still names ${store}: what is not marked as of this command stays.\n`), stdout);
  assert.deepEqual([read(STORAGE_CONF), has(DROP_IN)], [mine, false]);
});

test('a file in another encoding is refused, and stays byte for byte', () => {
  const latin1 = Buffer.from('# f\u00fcr mich\n[storage]\ndriver = "overlay"\n', 'latin1');
  writeOwn(user, STORAGE_CONF, '');
  writeFileSync(join(user.home, STORAGE_CONF), latin1);
  const { status, stderr } = setup('--write');
  assert.equal(status, 1);
  assert.match(stderr, /storage\.conf is not UTF-8/);
  assert.deepEqual(readFileSync(join(user.home, STORAGE_CONF)), latin1);
  assert.deepEqual([has(`${STORAGE_CONF}.before-cfsctl`), has(DROP_IN)], [false, false]);
});

test('a byte order mark is refused: podman 4.3 goes on without such a file', () => {
  const mine = '\uFEFF[storage]\ndriver = "overlay"\n';
  writeOwn(user, STORAGE_CONF, mine);
  assert.match(setup('--write').stderr, /storage\.conf begins with a byte order mark\n  hint: take it out/);
  assert.deepEqual([read(STORAGE_CONF), has(DROP_IN)], [mine, false]);
});

test('a link to nothing, a file of somebody else and one that is read-only: refused, and nothing is changed', () => {
  const path = join(user.home, STORAGE_CONF);
  const mine = '[storage]\ndriver = "overlay"\n';
  const refuses = (says: RegExp): void => {
    const { status, stderr } = setup('--write');
    assert.deepEqual([status, has(DROP_IN)], [1, false]);
    assert.match(stderr, says);
  };
  writeOwn(user, STORAGE_CONF, mine);
  chmodSync(path, 0o444);
  refuses(/storage\.conf is read-only\n  hint: chmod u\+w/);
  chmodSync(path, 0o666);
  chownSync(path, 0, 0);
  refuses(/storage\.conf belongs to somebody else/);
  assert.deepEqual([read(STORAGE_CONF), statSync(path).uid], [mine, 0]);
  rmSync(path);
  symlinkSync('../../dotfiles/storage.conf', path);
  lchownSync(path, user.uid, user.uid);
  refuses(/storage\.conf is a link to a file that is not there/);
  assert.equal(existsSync(path), false);
  assert.equal(readlinkSync(path), '../../dotfiles/storage.conf');
});

test('where nothing but ours is in the file that a link leads to, that file is removed', () => {
  writeOwn(user, 'dotfiles/storage.conf', '');
  writeOwn(user, '.config/containers/x', '');
  symlinkSync('../../dotfiles/storage.conf', join(user.home, STORAGE_CONF));
  assert.equal(setup('--write').status, 0);
  assert.equal(setup('--undo', '--write').status, 0);
  assert.equal(has('dotfiles/storage.conf'), false);
  assert.equal(readlinkSync(join(user.home, STORAGE_CONF)), '../../dotfiles/storage.conf');
});

test('no HOME, or an empty one: that of passwd; none there either: refused', () => {
  const words = ['cfsctl', 'setup', 'podman', '--store', store];
  for (const variables of [['-u', 'HOME'], ['HOME=', 'XDG_CONFIG_HOME=', 'CONTAINERS_STORAGE_CONF='], ['XDG_CONFIG_HOME=here']]) {
    const { stdout, stderr } = room.run(user, ['env', ...variables, ...words]);
    assert.equal(stderr, '');
    assert.ok(stdout.includes(`+++ ${user.home}/${STORAGE_CONF}\n`), stdout);
  }
  const nobody = ['setpriv', '--reuid=4899', '--clear-groups', 'env'];
  for (const variables of [['-u', 'HOME'], ['HOME=']]) {
    const { status, stderr } = room.run('root', [...nobody, ...variables, ...words]);
    assert.deepEqual(
      [status, stderr],
      [1, 'cfsctl: HOME is not set to an absolute path\n  hint: log in as the user, or set it\n'],
    );
  }
  const { status, stderr } = room.run(user, words, { env: { CONTAINERS_STORAGE_CONF: 'storage.conf' } });
  assert.equal(status, 1);
  assert.match(stderr, /CONTAINERS_STORAGE_CONF is not an absolute path/);
});

test('a store is written as an absolute path', () => {
  assert.equal(room.run(user, ['cfsctl', 'setup', 'podman', '--store', '../store', '--write']).status, 0);
  assert.ok(read(STORAGE_CONF).includes(`additionalimagestores = ["${store}"]`));
});

test('--undo has no mount program to choose', () => {
  const { status, stderr } = setup('--undo', '--mount-program');
  assert.equal(status, 2);
  assert.match(stderr, /option '--undo' cannot be used with option '--mount-program'/);
});
