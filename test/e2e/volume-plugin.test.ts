// Images as volumes of real podman: cfsctl volume-plugin, the service behind it, and containers of an ordinary user.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Daemon, eventually, startDaemon } from '../support/daemon.js';
import { addToRepository, makeErofs, policyText } from '../support/images.js';
import { run } from '../support/machine.js';
import { type Room, type RoomUser, openRoom } from '../support/podman.js';
import type { Outcome } from '../support/run-as.js';
import { type Plugin, configurePlugin, startPlugin } from '../support/volume-plugin.js';

let room: Room;
let user: RoomUser;
let daemon: Daemon;
let plugin: Plugin;
let repository: string;
let digest: string;

before(async () => {
  room = await openRoom(2);
  user = room.users[0]!;
  repository = join(room.path, 'repository');
  const image = join(room.path, 'base.erofs');
  digest = makeErofs(image, { 'hello.txt': 'hello\n', 'sub/deep.txt': 'deep\n' }, '--all-root');
  const other = join(room.path, 'other.erofs');
  makeErofs(other, { 'other.txt': 'other\n' });
  addToRepository(repository, image, 'team/base');
  addToRepository(repository, other, 'untrusted');
  daemon = await startDaemon({ directory: room.service, policy: policy([digest]) });
  run('tar', '-C', '/', '-cf', join(room.path, 'small.tar'), 'bin/busybox');
  room.output(user, ['podman', 'import', '--quiet', join(room.path, 'small.tar'), 'small']);
  configurePlugin(user);
  plugin = await startPlugin(room, user);
});
after(async () => {
  await room?.close();
  await daemon?.stop();
});

const policy = (digests: readonly string[]): string => policyText({ digests, repositories: { [repository]: 'trusted' } });

const podman = (...words: string[]): Outcome => room.run(user, ['podman', ...words]);
const busybox = (words: readonly string[], ...command: string[]): string =>
  room.output(user, ['podman', 'run', '--rm', ...words, 'small', '/bin/busybox', ...command]);

function create(name: string, ...options: string[]): Outcome {
  return podman('volume', 'create', '--driver', 'cfs', ...options.flatMap((option) => ['-o', option]), name);
}

/** Points in podman's namespace that have a file system of the service. */
function mounted(): string[] {
  const lines = room.output(user, ['podman', 'unshare', 'findmnt', '-rn', '-o', 'TARGET,FSTYPE']).split('\n');
  return lines.filter((line) => / (erofs|overlay)$/.test(line) && line.includes('/cfsctl/')).map((line) => line.split(' ')[0]!);
}

test('a volume of an image: created, read in a container, never written, removed', () => {
  assert.deepEqual(create('v', 'image=team/base'), { status: 0, stdout: 'v\n', stderr: '' });
  assert.equal(busybox(['-v', 'v:/data:ro'], 'cat', '/data/hello.txt', '/data/sub/deep.txt'), 'hello\ndeep\n');
  const { status, stderr } = podman('run', '--rm', '-v', 'v:/data:ro', 'small', '/bin/busybox', 'touch', '/data/x');
  assert.notEqual(status, 0);
  assert.match(stderr, /Read-only file system/);
  assert.deepEqual(mounted(), []);
  assert.deepEqual(podman('volume', 'rm', 'v'), { status: 0, stdout: 'v\n', stderr: '' });
  assert.doesNotMatch(podman('volume', 'ls').stdout, /cfs/);
});

test('without :ro it is read-only all the same', () => {
  create('v', 'image=team/base');
  const { stderr } = podman('run', '--rm', '-v', 'v:/data', 'small', '/bin/busybox', 'touch', '/data/x');
  assert.match(stderr, /Read-only file system/);
  assert.equal(busybox(['-v', 'v:/data'], 'cat', '/data/hello.txt'), 'hello\n');
  podman('volume', 'rm', 'v');
});

test('by digest, with restrictions; what the container sees is the mount of the service', () => {
  assert.equal(create('v', `image=${digest}`, `digest=${digest}`, 'nosuid', 'noexec=true').stderr, '');
  const line = busybox(['-v', 'v:/data:ro'], 'grep', ' /data ', '/proc/mounts');
  assert.match(line, /^\S+ \/data erofs ro,nosuid,nodev,noexec,/);
  assert.deepEqual(JSON.parse(podman('volume', 'inspect', 'v').stdout)[0].Options.image, digest);
  podman('volume', 'rm', 'v');
});

test('two containers on one volume share one mount, which goes with the last of them', () => {
  create('v', 'image=team/base');
  const sleeper = ['run', '-d', '-v', 'v:/data:ro', 'small', '/bin/busybox', 'sleep', '1000'];
  const [first, second] = [podman(...sleeper), podman(...sleeper)].map(({ stdout }) => stdout.trim());
  assert.equal(mounted().length, 1);
  const live = (): number => JSON.parse(room.output(user, ['cfsctl', '--json', 'mounts'])).length;
  assert.equal(live(), 1);
  podman('rm', '-f', '-t', '0', first!);
  assert.equal(room.output(user, ['podman', 'exec', second!, '/bin/busybox', 'cat', '/data/hello.txt']), 'hello\n');
  assert.equal(mounted().length, 1);
  podman('rm', '-f', '-t', '0', second!);
  assert.deepEqual(mounted(), []);
  assert.equal(podman('volume', 'rm', 'v').status, 0);
});

test('the service is restarted in between: containers go on, and new ones start', async () => {
  create('v', 'image=team/base');
  const id = podman('run', '-d', '-v', 'v:/data:ro', 'small', '/bin/busybox', 'sleep', '1000').stdout.trim();
  await daemon.stop();
  assert.equal(room.output(user, ['podman', 'exec', id, '/bin/busybox', 'cat', '/data/hello.txt']), 'hello\n');
  // The mount is there: another container of the same volume asks for nothing.
  assert.equal(busybox(['-v', 'v:/data:ro'], 'cat', '/data/hello.txt'), 'hello\n');
  const refused = create('w', 'image=team/base');
  assert.match(refused.stderr, /the service cannot be reached.*systemctl enable --now cfsmountd\.socket/);
  podman('rm', '-f', '-t', '0', id);
  const { status, stderr } = podman('run', '--rm', '-v', 'v:/data:ro', 'small', '/bin/busybox', 'ls', '/data');
  assert.notEqual(status, 0);
  assert.match(stderr, /the service cannot be reached/);
  daemon = await startDaemon({ directory: room.service });
  assert.equal(busybox(['-v', 'v:/data:ro'], 'cat', '/data/hello.txt'), 'hello\n');
  assert.equal(podman('volume', 'rm', 'v').status, 0);
});

for (const signal of ['TERM', 'KILL'] as const) {
  test(`the plugin is ended by SIG${signal} and started again: it knows its volumes and mounts`, async () => {
    create('v', 'image=team/base');
    const id = podman('run', '-d', '-v', 'v:/data:ro', 'small', '/bin/busybox', 'sleep', '1000').stdout.trim();
    plugin.signal(signal);
    const status = await plugin.ended();
    if (signal === 'TERM') assert.equal(status, 0, plugin.stderr());
    assert.equal(room.output(user, ['podman', 'exec', id, '/bin/busybox', 'cat', '/data/hello.txt']), 'hello\n');
    plugin = await startPlugin(room, user);
    assert.equal(busybox(['-v', 'v:/data:ro'], 'cat', '/data/hello.txt'), 'hello\n');
    assert.equal(mounted().length, 1);
    podman('rm', '-f', '-t', '0', id);
    assert.deepEqual(mounted(), []);
    assert.equal(podman('volume', 'rm', 'v').status, 0);
  });
}

test('an image that is not trusted, unknown options, none at all: refused when the volume is created, with the reason', () => {
  const refusals: [options: string[], says: RegExp][] = [
    [['image=untrusted'], /no image is trusted.*ask the administrator|not trusted/],
    [['image=nowhere'], /no repository has this image/],
    [[], /the volume has no image; add -o image=/],
    [
      ['image=team/base', 'upperdir=/tmp'],
      /the volume option upperdir is unknown; these are known: image, digest, nosuid, noexec/,
    ],
    [['image=../base'], /image: a name is parts of/],
    [['image=/etc/passwd'], /image: a name is parts of/],
    [['image=sha256:12'], /image: a sha256 digest has 64 hex digits/],
    [['image=team/base', `digest=sha256:${'0'.repeat(64)}`], /digest/],
    [['image=team/base', 'nosuid=perhaps'], /nosuid is neither true nor false/],
  ];
  for (const [options, says] of refusals) {
    const { status, stderr } = create('bad', ...options);
    assert.notEqual(status, 0, options.join());
    assert.match(stderr, says);
  }
});

test('trust that is taken back: the volume stays, and no container starts with it', async () => {
  create('v', 'image=team/base');
  daemon.writePolicy(policy([]));
  daemon.process.kill('SIGHUP');
  await daemon.eventually('the policy is read again', () => daemon.stderr().includes('policy read again'));
  const { status, stderr } = podman('run', '--rm', '-v', 'v:/data:ro', 'small', '/bin/busybox', 'ls', '/data');
  assert.notEqual(status, 0);
  assert.match(stderr, /no image is trusted/);
  assert.deepEqual(mounted(), []);
  daemon.writePolicy(policy([digest]));
  daemon.process.kill('SIGHUP');
  await daemon.eventually('it is read once more', () => daemon.stderr().split('policy read again').length > 2);
  assert.equal(busybox(['-v', 'v:/data:ro'], 'cat', '/data/hello.txt'), 'hello\n');
  podman('volume', 'rm', 'v');
});

test('podman has a new namespace: never an empty volume, the old plugin ends, a new one serves', async () => {
  create('v', 'image=team/base');
  const holder = podman('run', '-d', '-v', 'v:/data:ro', 'small', '/bin/busybox', 'sleep', '1000').stdout.trim();
  podman('system', 'migrate');
  podman('rm', '-f', '-t', '0', holder);
  const { status, stdout, stderr } = podman('run', '--rm', '-v', 'v:/data:ro', 'small', '/bin/busybox', 'ls', '/data');
  assert.notEqual(status, 0, stdout);
  assert.match(stderr, /podman is not in the namespace of the volume plugin.*podman unshare cfsctl volume-plugin/);
  assert.equal(await plugin.ended(), 1);
  assert.match(plugin.stderr(), /podman is not in the namespace/);
  plugin = await startPlugin(room, user);
  assert.equal(busybox(['-v', 'v:/data:ro'], 'cat', '/data/hello.txt'), 'hello\n');
  assert.equal(podman('volume', 'rm', 'v').status, 0);
});

test('everything of podman is killed, and it still counts a mount: the container fails, and its volume is not empty', async () => {
  create('v', 'image=team/base');
  podman('run', '-d', '-v', 'v:/data:ro', 'small', '/bin/busybox', 'sleep', '1000');
  // All that keeps podman's namespace alive: containers, their monitors, the plugin, the process that holds it.
  room.run('root', ['sh', '-c', `kill -KILL $(ps -eo pid=,euid= | awk '$2 == ${user.uid} { print $1 }')`]);
  await plugin.ended();
  podman('system', 'migrate'); // as podman says itself
  plugin = await startPlugin(room, user);
  const { status, stdout, stderr } = podman('run', '--rm', '-v', 'v:/data:ro', 'small', '/bin/busybox', 'ls', '/data');
  assert.notEqual(status, 0, stdout);
  assert.match(stderr, /cfsctl\/volumes\/v\/data/);
  podman('rm', '-f', '-a', '-t', '0');
  assert.equal(podman('volume', 'rm', 'v').status, 0);
  create('v', 'image=team/base');
  assert.equal(busybox(['-v', 'v:/data:ro'], 'cat', '/data/hello.txt'), 'hello\n');
  podman('volume', 'rm', 'v');
});

test('the service manager has the socket: the plugin starts when podman calls, and leaves the socket alone', async () => {
  plugin.signal('TERM');
  await plugin.ended();
  const words = ['systemd-socket-activate', '-l', plugin.socket, 'podman', 'unshare', 'cfsctl', 'volume-plugin'];
  const [program, ...rest] = room.command(user, ['sh', '-c', 'umask 077; exec "$@"', 'sh', ...words]);
  const manager = spawn(program!, rest, { stdio: 'ignore' });
  await eventually('there is a socket', () => existsSync(plugin.socket));
  assert.equal(create('v', 'image=team/base').stderr, '');
  assert.equal(busybox(['-v', 'v:/data:ro'], 'cat', '/data/hello.txt'), 'hello\n');
  assert.equal(podman('volume', 'rm', 'v').status, 0);
  room.output('root', ['sh', '-c', `kill $(ps -eo pid=,args= | awk '/cfsctl volume-plugi[n]$/ && !/podman/ { print $1 }')`]);
  await eventually('the plugin has ended', () => manager.exitCode !== null);
  assert.equal(existsSync(plugin.socket), true);
});
