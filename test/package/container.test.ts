// From the package, under systemd, as an administrator and users have it.
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';

import { parseDump } from '../../core/image/dump-parser.js';
import { writeImage } from '../../core/image/writer.js';
import { VERSION } from '../../core/wire/version.js';
import { CAPABILITIES } from '../support/confine.js';
import { eventually } from '../support/daemon.js';
import { addToRepository, digestOfFile, makeErofs, policyText } from '../support/images.js';
import type { Outcome } from '../support/run-as.js';
import { buildDeb } from './build-deb.js';
import { type Container, startContainer } from './container.js';

const USER = 'alice';
/** For its owner alone, who is not the caller: overlayfs opens it with the rights of the service. */
const DUMP = `/ 0 40755 2 0 0 0 0.0 - - -
/program 19 100700 1 0 0 0 0.0 - #!/bin/sh\\necho\\x20ran\\n -
`;

let container: Container;
let deb: string;

before(async () => {
  deb = buildDeb('amd64');
  container = await startContainer();
  copyFileSync(deb, join(container.shared, basename(deb)));
  container.output('useradd', '--create-home', '--uid', '4711', USER);
});
after(() => container?.stop());

const installPackage = (): string => container.output('dpkg', '--install', `/shared/${basename(deb)}`);
const stateOf = (unit: string): string => container.do('systemctl', 'is-active', unit).stdout.trim();
const show = (unit: string, property: string): string =>
  container.output('systemctl', 'show', '--value', '-p', property, unit).trim();

/** A shell script as the user, root of a new user and mount namespace, with a directory /mnt/m to mount at. */
function asUser(script: string): Outcome {
  const prepared = `mount -t tmpfs none /mnt && mkdir /mnt/m && ${script}`;
  return container.do('runuser', '-u', USER, '--', 'unshare', '-U', '-r', '-m', 'sh', '-ec', prepared);
}

function assertSays({ status, stdout, stderr }: Outcome, expected: string): void {
  assert.deepEqual([status, stdout, stderr], [0, expected, '']);
}

async function becomes(unit: string, state: string, timeoutMs = 10_000): Promise<void> {
  await eventually(`${unit} is ${state}`, () => stateOf(unit) === state, timeoutMs);
}

test('installed: the socket is open and enabled, the service waits, the directories are there', () => {
  installPackage();
  assert.equal(stateOf('cfsmountd.socket'), 'active');
  assert.equal(container.output('systemctl', 'is-enabled', 'cfsmountd.socket'), 'enabled\n');
  assert.equal(stateOf('cfsmountd.service'), 'inactive');
  assert.equal(
    container.output('stat', '-c', '%a %U', '/run/cfsmountd/socket', '/var/lib/cfsmountd', '/etc/cfsmountd/policy.d'),
    '666 root\n700 root\n755 root\n',
  );
  assert.match(container.output('ls', '/usr/lib/cfsmountd/code'), /^cfsmountd-[0-9a-f]{16}\.cache$/m);
});

test('the first call starts the service: over the socket', () => {
  const { stdout, stderr } = asUser('cfsctl status');
  assert.equal(stderr, '');
  assert.match(stdout, new RegExp(`^version +${VERSION}\\n`));
  assert.equal(stateOf('cfsmountd.service'), 'active');
});

test('the first call starts the service: over the bus, and it is the same process that has the socket', () => {
  container.output('systemctl', 'stop', 'cfsmountd.service');
  const { stdout, stderr } = asUser('cfsctl --address system status');
  assert.deepEqual([stdout.split('\n')[1], stderr], ['address   bus:unix:path=/run/dbus/system_bus_socket', '']);
  const pid = show('cfsmountd.service', 'MainPID');
  assertSays(container.do('sh', '-c', 'cfsctl status >/dev/null && systemctl show --value -p MainPID cfsmountd'), `${pid}\n`);
});

test('the bus lets callers reach our interface and the standard ones, and nobody but root have the name', () => {
  const call = (...words: string[]): Outcome =>
    container.do('runuser', '-u', USER, '--', 'busctl', 'call', 'org.composefs.Mount1', ...words);
  assert.equal(call('/org/composefs/Mount1', 'org.composefs.Mount1', 'ListMounts', 'a{sv}', '0').status, 0);
  assert.match(call('/org/composefs/Mount1', 'org.example.Other', 'Method').stderr, /Access denied|AccessDenied/i);
  assert.match(
    call('/org/composefs/Other', 'org.composefs.Mount1', 'ListMounts', 'a{sv}', '0').stderr,
    /Access denied|AccessDenied/i,
  );
  const take = [
    'busctl',
    'call',
    'org.freedesktop.DBus',
    '/',
    'org.freedesktop.DBus',
    'RequestName',
    'su',
    'org.composefs.Mount1',
    '0',
  ];
  assert.match(container.do('runuser', '-u', USER, '--', ...take).stderr, /Access denied|not allowed/);
});

test('the process has what the unit leaves it', () => {
  const pid = show('cfsmountd.service', 'MainPID');
  const status = container.output('cat', `/proc/${pid}/status`);
  const field = (name: string): string => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)![1]!;
  const names = container
    .output('capsh', `--decode=${field('CapEff')}`)
    .trim()
    .split('=')[1]!
    .split(',');
  assert.deepEqual(names.sort(), CAPABILITIES.map((name) => name.toLowerCase()).sort());
  assert.deepEqual([field('CapBnd'), field('CapAmb')], [field('CapEff'), '0000000000000000']);
  assert.deepEqual([field('NoNewPrivs'), field('Seccomp')], ['1', '2']);
  const flags = (path: string): string =>
    container.output('nsenter', '-t', pid, '-m', 'findmnt', '-no', 'OPTIONS', '-T', path).slice(0, 3);
  assert.deepEqual(['/', '/usr', '/etc', '/run/cfsmountd', '/var/lib/cfsmountd'].map(flags), ['ro,', 'ro,', 'ro,', 'ro,', 'rw,']);
  assert.equal(container.output('nsenter', '-t', pid, '-m', 'ls', '/home', '/root', '/tmp'), '/home:\n\n/root:\n\n/tmp:\n');
  assert.equal(container.output('nsenter', '-t', pid, '-n', 'ls', '/proc/net/unix'), '/proc/net/unix\n');
  assert.match(container.output('nsenter', '-t', pid, '-n', 'ip', '-o', 'link'), /^1: lo:[^\n]*\n$/);
});

/** Images in a repository on the machine's disk, and the policy that trusts them. */
function makeRepository(): void {
  const repository = join(container.shared, 'repository');
  mkdirSync(join(repository, 'objects'), { recursive: true });
  const plain = join(container.shared, 'plain.erofs');
  makeErofs(plain, { 'hello.txt': 'hello\n' });
  const composefs = join(container.shared, 'image.cfs');
  writeFileSync(composefs, writeImage(parseDump(Buffer.from(DUMP)), 1));
  for (const [image, name] of [
    [plain, 'plain'],
    [composefs, 'composefs'],
  ] as const)
    addToRepository(repository, image, name);
  const digests = [plain, composefs].map((image) => digestOfFile(image));
  const text = policyText({ digests, repositories: { '/shared/repository': 'trusted' } });
  writeFileSync(join(container.shared, 'policy.toml'), text);
  container.output('cp', '/shared/policy.toml', '/etc/cfsmountd/policy.d/test.toml');
}

test('a user mounts an image by name, a composefs image with a program in it, and a file of its own', () => {
  makeRepository();
  container.output('cfsctl', 'reload');
  assertSays(asUser('cfsctl mount plain /mnt/m && cat /mnt/m/hello.txt'), 'hello\n');
  assertSays(asUser('cfsctl --address system mount plain /mnt/m && cat /mnt/m/hello.txt'), 'hello\n');
  assertSays(asUser('cfsctl mount composefs /mnt/m && /mnt/m/program'), 'ran\n');
  assertSays(asUser('cp /shared/plain.erofs /mnt/own && cfsctl mount /mnt/own /mnt/m && cat /mnt/m/hello.txt'), 'hello\n');
});

test('an image on overlayfs goes through a loop device, which the unit leaves open', () => {
  container.output('cp', '-r', '/shared/repository', '/srv/repository');
  container.output('sh', '-c', 'sed -i s,/shared/,/srv/, /etc/cfsmountd/policy.d/test.toml && cfsctl reload');
  const { status, stdout, stderr } = asUser(
    'cfsctl mount plain /mnt/m && cat /mnt/m/hello.txt /sys/block/loop*/loop/backing_file',
  );
  assert.deepEqual([status, stderr], [0, '']);
  assert.match(stdout, /^hello\n[^]*\/srv\/repository\/objects\//);
  container.output('sh', '-c', 'sed -i s,/srv/,/shared/, /etc/cfsmountd/policy.d/test.toml && cfsctl reload');
});

test('one audit line for each decision is in the journal', () => {
  const lines = (): string[] =>
    container
      .output('journalctl', '-u', 'cfsmountd', '-o', 'cat')
      .split('\n')
      .filter((line) => line.includes('"audit":true'));
  const before = lines().length;
  assert.equal(asUser('cfsctl check plain >/dev/null').status, 0);
  assert.equal(asUser(`cfsctl mount sha256:${'00'.repeat(32)} /mnt/m`).status, 1);
  const verdicts = lines()
    .slice(before)
    .map((line) => JSON.parse(line).verdict);
  assert.deepEqual(verdicts, ['allow', 'deny']);
});

test('a repository in a home is hidden from the service, until its unit is changed', async () => {
  container.output('cp', '-r', '/shared/repository', '/home/repository');
  container.output('sh', '-c', 'sed -i s,/shared/,/home/, /etc/cfsmountd/policy.d/test.toml');
  assert.match(container.do('cfsctl', 'reload').stderr, /repository \/home\/repository is not there/);
  const dropIn = '/etc/systemd/system/cfsmountd.service.d';
  container.output('sh', '-c', `mkdir ${dropIn} && printf '[Service]\\nProtectHome=read-only\\n' >${dropIn}/home.conf`);
  container.output('sh', '-c', 'systemctl daemon-reload && systemctl restart cfsmountd');
  assertSays(asUser('cfsctl mount plain /mnt/m && cat /mnt/m/hello.txt'), 'hello\n');
  container.output(
    'sh',
    '-c',
    `sed -i s,/home/,/shared/, /etc/cfsmountd/policy.d/test.toml; rm -r ${dropIn}; systemctl daemon-reload; systemctl restart cfsmountd`,
  );
});

/** Keeps a mount alive while something is done to the service; afterwards the mount still reads. */
async function withLiveMount(step: () => Promise<void>): Promise<void> {
  container.output('sh', '-c', 'rm -rf /tmp/holder && mkdir -m 777 /tmp/holder');
  const wait = 'touch /tmp/holder/up; while ! [ -e /tmp/holder/go ]; do sleep 0.1; done';
  const script = `mount -t tmpfs none /mnt; mkdir /mnt/m; cfsctl mount plain /mnt/m; ${wait}; cat /mnt/m/hello.txt >/tmp/holder/read`;
  const unit = 'holder.service';
  container.output('systemd-run', '--quiet', `--unit=${unit}`, `--uid=${USER}`, 'unshare', '-U', '-r', '-m', 'sh', '-ec', script);
  await eventually('the mount is there', () => container.do('test', '-e', '/tmp/holder/up').status === 0);
  await step();
  container.output('touch', '/tmp/holder/go');
  await eventually('the holder is done', () => stateOf(unit) !== 'active');
  assert.equal(container.output('cat', '/tmp/holder/read'), 'hello\n');
}

test('restarted, killed, upgraded: mounts go on and are counted, and the next call is answered', async () => {
  await withLiveMount(async () => {
    const counted = (): string => container.output('cfsctl', '--json', 'mounts');
    const before = counted();
    assert.equal(JSON.parse(before).length, 1);
    container.output('systemctl', 'restart', 'cfsmountd');
    assert.equal(counted(), before);
    const pid = show('cfsmountd.service', 'MainPID');
    container.output('systemctl', 'kill', '--signal=KILL', 'cfsmountd');
    await eventually('another process is there', () => !['0', pid].includes(show('cfsmountd.service', 'MainPID')));
    await becomes('cfsmountd.service', 'active');
    assert.equal(counted(), before);
    const old = show('cfsmountd.service', 'MainPID');
    installPackage();
    await becomes('cfsmountd.service', 'active');
    assert.notEqual(show('cfsmountd.service', 'MainPID'), old, 'the new version runs');
    assert.equal(counted(), before);
  });
  await eventually('it is gone, and counted no more', () => container.output('cfsctl', '--json', 'mounts') === '[]\n');
});

test('a broken policy: it tries again and again, the socket stays open, and the mended policy brings it back', async () => {
  container.output('sh', '-c', 'echo broken >/etc/cfsmountd/policy.d/broken.toml');
  assert.notEqual(container.do('systemctl', 'restart', 'cfsmountd').status, 0);
  await eventually('it has failed some times', () => Number(show('cfsmountd.service', 'NRestarts')) >= 3, 30_000);
  assert.equal(stateOf('cfsmountd.socket'), 'active');
  container.output('rm', '/etc/cfsmountd/policy.d/broken.toml');
  await becomes('cfsmountd.service', 'active', 30_000);
  assertSays(asUser('cfsctl mount plain /mnt/m && cat /mnt/m/hello.txt'), 'hello\n');
});

test('idle: it ends, leaves nothing running, and the next call starts it', async () => {
  container.output('sed', '-i', 's/^#idle-exit.*/idle-exit = 1/', '/etc/cfsmountd/cfsmountd.conf');
  container.output('systemctl', 'restart', 'cfsmountd');
  await becomes('cfsmountd.service', 'inactive');
  assert.equal(show('cfsmountd.service', 'Result'), 'success');
  assert.equal(stateOf('cfsmountd.socket'), 'active');
  assert.equal(container.do('sh', '-c', 'ps -e -o comm= | grep cfsmountd').stdout, '');
  assertSays(asUser('cfsctl mount plain /mnt/m && cat /mnt/m/hello.txt'), 'hello\n');
  container.output('sed', '-i', 's/^idle-exit.*/#idle-exit = 300/', '/etc/cfsmountd/cfsmountd.conf');
});

test('when Node.js is replaced, the code caches are written again', () => {
  container.output('sh', '-c', 'rm /usr/lib/cfsmountd/code/*.cache');
  container.output('dpkg-trigger', '--no-await', '--by-package=nodejs', '/usr/bin/node');
  container.output('dpkg', '--triggers-only', '--pending');
  assert.match(container.output('ls', '/usr/lib/cfsmountd/code'), /^cfsmountd-[0-9a-f]{16}\.cache$/m);
});

test('cfsctl-attach@: an image for as long as the unit of the user runs', () => {
  container.output('systemctl', 'start', 'user@4711.service');
  const user = (...command: string[]): Outcome =>
    container.do('runuser', '-u', USER, '--', 'env', 'XDG_RUNTIME_DIR=/run/user/4711', ...command);
  const started = user('systemctl', '--user', 'start', 'cfsctl-attach@plain');
  assert.deepEqual([started.status, started.stderr], [0, '']);
  const pid = user('systemctl', '--user', 'show', '--value', '-p', 'MainPID', 'cfsctl-attach@plain').stdout.trim();
  const read = [
    'nsenter',
    '-t',
    pid,
    '--user',
    '--mount',
    '--preserve-credentials',
    'cat',
    '/run/user/4711/cfsctl/plain/hello.txt',
  ];
  assertSays(user(...read), 'hello\n');
  assert.equal(user('systemctl', '--user', 'stop', 'cfsctl-attach@plain').status, 0);
  const refused = user('systemctl', '--user', 'start', 'cfsctl-attach@no\\x2dsuch');
  assert.equal(refused.status, 1, 'what is not mounted is not started');
});

test('removed: nothing runs or listens, the policy stays; purged: that is gone as well', () => {
  container.output('dpkg', '--remove', 'cfsmountd');
  assert.deepEqual([stateOf('cfsmountd.socket'), stateOf('cfsmountd.service')], ['inactive', 'inactive']);
  assert.equal(container.do('test', '-e', '/usr/lib/cfsmountd').status, 1);
  assert.equal(container.do('test', '-e', '/etc/cfsmountd/policy.d/test.toml').status, 0);
  container.output('dpkg', '--purge', 'cfsmountd');
  for (const path of ['/etc/cfsmountd', '/var/lib/cfsmountd', '/run/cfsmountd/socket']) {
    assert.equal(container.do('test', '-e', path).status, 1, path);
  }
  assert.doesNotMatch(container.output('systemctl', 'list-unit-files'), /cfsmountd/);
});
