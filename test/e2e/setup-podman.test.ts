// cfsctl setup podman and cfsctl doctor, with real podman: what it reads, and what becomes of a user's files.
import assert from 'node:assert/strict';
import { chmodSync, existsSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';

import { CFSCTL } from '../support/cfsctl.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, makeErofs, policyText } from '../support/images.js';
import { DIST, run } from '../support/machine.js';
import { type Room, type RoomUser, makeEmptyStore, openRoom, writeOwn } from '../support/podman.js';
import { runAs } from '../support/run-as.js';
import { startPlugin } from '../support/volume-plugin.js';

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

interface Shown {
  readonly check: string;
  readonly status: string;
  readonly says: string;
  readonly mend: string | null;
}

function doctor(): { status: number | null; findings: Record<string, Shown> } {
  const { status, stdout } = room.run(user, ['cfsctl', '--json', 'doctor', '--store', store]);
  return { status, findings: Object.fromEntries((JSON.parse(stdout) as Shown[]).map((finding) => [finding.check, finding])) };
}

test('without --write nothing is changed, and all that would be is shown', () => {
  const { status, stdout, stderr } = setup();
  assert.deepEqual([status, stderr], [0, '']);
  assert.match(stdout, /^\+driver = "overlay" # cfsctl setup podman$/m);
  assert.ok(stdout.includes(`+additionalimagestores = ["${store}"]`));
  assert.ok(stdout.includes(`+cfs = "${user.home}/run/cfsctl/volume.sock"`));
  assert.match(stdout, /^Nothing is written\. To do that: cfsctl setup podman --write$/m);
  assert.equal(has('.config'), false);
});

test('written: podman takes the store and the plugin; again: nothing to change; taken back: all is as it was', () => {
  assert.equal(setup('--write').status, 0);
  assert.equal(room.output(user, ['podman', 'info', '--format', '{{.Store.GraphDriverName}}']), 'overlay\n');
  assert.equal(room.output(user, ['podman', 'images', '-q']), '');
  assert.match(room.output(user, ['podman', 'info', '--format', '{{.Plugins.Volume}}']), /cfs/);
  assert.match(setup('--write').stdout, /^Nothing to change\.$/m);
  assert.match(setup('--undo').stdout, /^-cfs = /m);
  assert.ok(has(STORAGE_CONF));
  assert.equal(setup('--undo', '--write').status, 0);
  assert.deepEqual([has(STORAGE_CONF), has(DROP_IN)], [false, false]);
  assert.match(setup('--undo', '--write').stdout, /^Nothing to change\.$/m);
});

test("a user's own file keeps all it has; what was there is kept beside; a link is followed", () => {
  const mine = '# mine\n[storage]\ndriver = "overlay" # mine\n\n[storage.options]\nadditionalimagestores = [\n  # none yet\n]\n';
  writeOwn(user, 'dotfiles/storage.conf', mine);
  writeOwn(user, '.config/containers/x', '');
  symlinkSync('../../dotfiles/storage.conf', join(user.home, STORAGE_CONF));
  assert.equal(setup('--write').status, 0);
  assert.equal(read(STORAGE_CONF), mine.replace('yet\n]', `yet\n"${store}" # cfsctl setup podman\n]`));
  assert.equal(read(STORAGE_CONF), read('dotfiles/storage.conf'));
  assert.equal(read(`${STORAGE_CONF}.before-cfsctl`), mine);
  room.output(user, ['podman', 'info']);
  assert.equal(setup('--undo', '--write').status, 0);
  assert.equal(read('dotfiles/storage.conf'), mine);
});

test('a store that is not there is not written: podman would not start', () => {
  const { status, stderr } = room.run(user, ['cfsctl', 'setup', 'podman', '--write', '--store', '/nonexistent']);
  assert.equal(status, 1);
  assert.match(stderr, /no store \/nonexistent, and podman does not start.*\n  hint: sudo cfsctl podman export-store/);
  assert.equal(has('.config'), false);
});

test('another storage driver, in the file or in what podman has kept: refused, and nothing is written', () => {
  writeOwn(user, STORAGE_CONF, '[storage]\ndriver = "vfs"\n');
  assert.match(setup('--write').stderr, /another storage driver than overlay\n  hint: podman system reset/);
  room.output(user, ['podman', 'info']);
  writeOwn(user, STORAGE_CONF, '');
  const { status, stderr } = setup('--write');
  assert.equal(status, 1);
  assert.match(stderr, /keeps what is yours with the storage driver vfs.*\n  hint: podman system reset/);
  assert.deepEqual([read(STORAGE_CONF), has(DROP_IN)], ['', false]);
});

test('podman does not start with what was written: it is taken back', () => {
  const mine = '[storage]\ndriver = "overlay"\nrunroot = "/proc/nothing"\n';
  writeOwn(user, STORAGE_CONF, mine);
  const { status, stderr } = setup('--write');
  assert.equal(status, 1);
  assert.match(stderr, /podman does not start, with these changes or without, and they were taken back: .*\/proc\/nothing/);
  assert.deepEqual([read(STORAGE_CONF), has(DROP_IN)], [mine, false]);
});

test('podman does not start for the store alone: it is taken back, and that is said', () => {
  const broken = join(room.path, 'broken');
  makeEmptyStore(broken);
  chmodSync(join(broken, 'overlay-images/images.lock'), 0o000);
  const write = () => room.run(user, ['cfsctl', 'setup', 'podman', '--store', broken, '--write']);
  const says = /podman does not start with these changes, and they were taken back: .*images\.lock/;
  assert.match(write().stderr, says);
  assert.deepEqual([has(STORAGE_CONF), has(DROP_IN)], [false, false]);
  writeOwn(user, STORAGE_CONF, '[storage]\ndriver = "overlay"\n');
  assert.match(write().stderr, says);
  assert.equal(read(STORAGE_CONF), '[storage]\ndriver = "overlay"\n');
});

test('cfs-overlay: for who has nothing yet; refused over layers that were made without it', () => {
  const program = join(DIST, 'cfs-overlay');
  assert.equal(setup('--mount-program', '--write').status, 0);
  assert.ok(read(STORAGE_CONF).includes(`mount_program = "${program}" # cfsctl setup podman\n`));
  assert.ok(room.output(user, ['podman', 'info', '--format', '{{json .Store.GraphOptions}}']).includes(program));
  const { findings } = doctor();
  assert.deepEqual([findings['mount program']!.status, findings['/dev/fuse']!.status], ['ok', 'ok']);
  setup('--undo', '--write');
  room.output(user, ['podman', 'system', 'reset', '--force']);
  rmSync(join(user.home, '.local'), { recursive: true, force: true });
  setup('--write');
  run('tar', '-C', '/', '-cf', join(room.path, 'small.tar'), 'bin/busybox');
  room.output(user, ['podman', 'import', '--quiet', join(room.path, 'small.tar'), 'small']);
  const refused = setup('--mount-program', '--write');
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /made without a mount_program\n  hint: podman system reset removes them all/);
  assert.doesNotMatch(read(STORAGE_CONF), /mount_program/);
});

test('not for root, and not below podman unshare', () => {
  const words = ['cfsctl', 'setup', 'podman'];
  for (const outcome of [room.run('root', words), room.run(user, ['podman', 'unshare', ...words])]) {
    assert.equal(outcome.status, 1);
    assert.match(outcome.stderr, /you are root\n  hint: run it as that user/);
  }
});

test('doctor: of a user who has nothing yet, with what to do', () => {
  const { status, findings } = doctor();
  assert.equal(status, 1);
  assert.equal(findings['service']!.status, 'fail');
  assert.match(findings['service']!.mend!, /systemctl enable --now cfsmountd\.socket/);
  assert.deepEqual([findings['subuid']!.status, findings['newuidmap']!.status], ['ok', 'ok']);
  assert.match(findings['podman']!.says, /never used/);
  assert.equal(findings['storage.conf']!.mend, `cfsctl setup podman --store ${store} --write`);
  // To ask podman would have made it choose a storage driver.
  assert.equal(has('.local'), false);
});

test('doctor: of a user with all of it, and what fails is found', async () => {
  const image = join(room.path, 'base.erofs');
  const repository = join(room.path, 'repository');
  const digest = makeErofs(image, { x: 'x' });
  addToRepository(repository, image, 'base');
  const policy = policyText({ digests: [digest], repositories: { [repository]: 'trusted' } });
  const daemon: Daemon = await startDaemon({ directory: room.service, policy });
  try {
    setup('--write');
    const plugin = await startPlugin(room, user);
    const well = doctor();
    assert.deepEqual(
      Object.values(well.findings).filter(({ status }) => status === 'fail'),
      [],
    );
    assert.equal(well.status, 0);
    for (const check of ['service', 'policy', 'images', 'podman', 'storage driver', 'storage.conf', 'volume plugin'])
      assert.equal(well.findings[check]!.status, 'ok', check);
    assert.match(
      room.output(user, ['cfsctl', 'doctor', '--store', store]),
      /^ok +service +cfsmountd .* answers on unix:path=\/run\/cfsmountd\/socket$/m,
    );
    plugin.signal('TERM');
    await plugin.ended();
    assert.match(doctor().findings['volume plugin']!.says, /does not answer/);
    daemon.writePolicy('');
    daemon.process.kill('SIGHUP');
    await daemon.eventually('the policy is read again', () => daemon.stderr().includes('policy read again'));
    assert.match(doctor().findings['policy']!.says, /nothing may be mounted/);
    room.run('root', ['sh', '-c', ': >/etc/subuid']);
    const broken = doctor();
    assert.equal(broken.findings['subuid']!.status, 'fail');
    assert.equal(broken.status, 1);
  } finally {
    await daemon.stop();
  }
});

test('doctor: files that are broken are findings, and the rest is looked at', () => {
  writeOwn(user, STORAGE_CONF, '[storage\n');
  writeOwn(user, DROP_IN, 'x = \n');
  const { status, findings } = doctor();
  assert.equal(status, 1);
  assert.match(findings['storage.conf']!.says, /storage\.conf:\d: not valid TOML/);
  assert.match(findings['podman']!.says, /storage\.conf:\d: not valid TOML/);
  assert.match(findings['volume plugin']!.says, /50-cfsctl\.conf:\d: not valid TOML/);
  assert.equal(findings['newuidmap']!.status, 'ok');
});

test('doctor: of a user without a name and a home, that is a finding, and the rest is looked at', () => {
  const { status, stdout, stderr } = runAs(4712, [CFSCTL, '--json', 'doctor', '--store', store]);
  assert.deepEqual([status, stderr], [1, '']);
  const findings = new Map((JSON.parse(stdout) as Shown[]).map((finding) => [finding.check, finding]));
  assert.equal(findings.get('subuid')!.mend, 'sudo useradd --uid 4712 user4712');
  assert.match(findings.get('store')!.says, / has no image$/);
  for (const check of ['podman', 'storage.conf', 'volume plugin']) assert.equal(findings.get(check)!.status, 'fail', check);
});

test('doctor: root is told of the host alone; in podman unshare it says to go out', () => {
  const outcome = room.run('root', ['cfsctl', 'doctor']);
  assert.match(outcome.stdout, /^warn +podman +is not looked at: you are root$/m);
  assert.match(room.run(user, ['unshare', '-Ur', 'cfsctl', 'doctor']).stderr, /run it outside of podman unshare/);
});
