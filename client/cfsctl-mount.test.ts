// `cfsctl mount` with real mounts, in real user namespaces, and on a real bus; the service is a stand-in.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseVerityDigest } from '../core/image/digest.js';
import type { OwnedFd } from '../core/kernel/fd.js';
import { O_RDONLY, openPath, procPath } from '../core/kernel/file.js';
import { MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY } from '../core/kernel/mount.js';
import { fsconfigCreate, fsconfigString, fsmount, fsopen } from '../core/kernel/mount.js';
import { encodeMountResult } from '../core/wire/results.js';
import { CFSCTL, type Outcome, startFixture } from './fake-service.test.js';

const digest = parseVerityDigest(`sha256:${'ab'.repeat(32)}`);
const result = { id: 7n, digest, rule: 'r', verified: 'copy', type: 'erofs', locked: false } as const;
const fixture = startFixture();
const { directory, socketPath, run, cfsctl } = fixture;

test('mount outside a user namespace: says what to run, and asks the service nothing', async () => {
  fixture.service = () => assert.fail('asked');
  const { status, stdout, stderr } = await cfsctl('mount', 'base', directory);
  assert.deepEqual([status, stdout], [1, '']);
  assert.match(stderr, /initial[^]*podman unshare[^]*unshare -Urm/);
});

const isRoot = process.getuid!() === 0;
const needsRoot = isRoot ? {} : { skip: 'SKIPPED: only root can make the mount this hands out' };

/** A detached mount of a fresh EROFS image that holds `file` and is kept by nothing else. */
function mountImage(attributes = 0): OwnedFd {
  const tree = join(directory, 'tree');
  const image = join(directory, 'image.erofs');
  if (!readdirSync(directory).includes('tree')) {
    mkdirSync(tree);
    writeFileSync(join(tree, 'file'), 'hello');
    execFileSync('mkfs.erofs', ['--quiet', '--all-root', image, tree]);
  }
  using file = openPath(image, O_RDONLY);
  using context = fsopen('erofs');
  fsconfigString(context, 'source', procPath(file));
  fsconfigCreate(context);
  return fsmount(context, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | attributes);
}

function mountAndRun(args: string, then: string): Promise<Outcome> {
  const script = `'${process.execPath}' '${CFSCTL}' --address 'unix:path=${socketPath}' mount ${args} && ${then}`;
  return run('unshare', ['-Urm', 'sh', '-ec', script]);
}

test('mount: silent, attached, and unmounted without EBUSY', needsRoot, async () => {
  fixture.service = () => ({ body: [0, encodeMountResult(result)], fds: [mountImage()] });
  mkdirSync(join(directory, 'point'));
  const outcome = await mountAndRun('base ./point', 'cat point/file && umount point && ls point');
  assert.deepEqual(outcome, { status: 0, stdout: 'hello', stderr: '' });
});

test('mount with --json prints what was mounted', needsRoot, async () => {
  fixture.service = () => ({ body: [0, encodeMountResult(result)], fds: [mountImage()] });
  const { stdout } = await mountAndRun('--json base ./point', 'true');
  assert.deepEqual(JSON.parse(stdout), { ...result, id: '7' });
});

test('mount through a symlink to the mount point', needsRoot, async () => {
  fixture.service = () => ({ body: [0, encodeMountResult(result)], fds: [mountImage()] });
  const outcome = await mountAndRun('base ./link', 'cat point/file');
  assert.match(outcome.stderr, /does not exist/);
  execFileSync('ln', ['-s', 'point', join(directory, 'link')]);
  assert.deepEqual(await mountAndRun('base ./link', 'cat point/file'), { status: 0, stdout: 'hello', stderr: '' });
});

test('writable mount: changes go to the upper directory, restrictions stay, one umount ends it', needsRoot, async () => {
  fixture.service = () => ({ body: [0, encodeMountResult(result)], fds: [mountImage(MOUNT_ATTR_NOSUID)] });
  for (const name of ['upper \\dir', 'work']) mkdirSync(join(directory, name));
  const then = [
    'printf changed > point/file',
    'printf new > point/other',
    'findmnt -n -o FSTYPE,OPTIONS --mountpoint "$PWD/point"',
    'umount point',
    'ls point',
    "cat 'upper \\dir/file' 'upper \\dir/other'",
  ].join(' && ');
  const { status, stdout, stderr } = await mountAndRun("--upperdir 'upper \\dir' --workdir work base point", then);
  assert.deepEqual([status, stderr], [0, '']);
  assert.match(stdout, /^overlay +rw,nosuid,nodev,[^\n]*userxattr[^\n]*\nchangednew$/);
});

test('writable mount that cannot be made leaves nothing attached', needsRoot, async () => {
  fixture.service = () => ({ body: [0, encodeMountResult(result)], fds: [mountImage()] });
  mkdirSync(join(directory, 'up'));
  mkdirSync(join(directory, 'up', 'inside'));
  const script = `'${process.execPath}' '${CFSCTL}' --address 'unix:path=${socketPath}' mount --upperdir up --workdir up/inside base point || findmnt --mountpoint "$PWD/point" || echo clean`;
  const { stdout, stderr } = await run('unshare', ['-Urm', 'sh', '-ec', script]);
  assert.equal(stdout, 'clean\n');
  assert.match(stderr, /overlay could not be made: .*\n  hint: /);
});

test('a real bus: Hello, and its error when nobody provides the service, also inside a user namespace', async (t) => {
  const busPath = join(directory, 'bus');
  const config = join(directory, 'bus.conf');
  writeFileSync(
    config,
    `<busconfig><type>session</type><listen>unix:path=${busPath}</listen><auth>EXTERNAL</auth>
     <policy context="default"><allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy></busconfig>`,
  );
  const bus = spawn('dbus-daemon', [`--config-file=${config}`, '--nofork', '--print-address'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => bus.kill());
  await once(bus.stdout, 'data');
  const args = [CFSCTL, '--address', `bus:unix:path=${busPath}`, 'images'];
  for (const [command, ...prefix] of [[process.execPath], ['unshare', '-Ur', process.execPath]] as const) {
    const { status, stderr } = await run(command, [...prefix, ...args]);
    assert.equal(status, 1);
    assert.match(stderr, /^cfsctl: the bus does not know the service: [^]*hint: start the service with/);
  }
});
