// The installed files on a system bus without systemd: the first call starts the service, by dbus-daemon and its set-uid helper. The mounts below
// are in a mount namespace of the test's own, and the state directory is on overlayfs: images go through loop devices.
import assert from 'node:assert/strict';
import { appendFileSync, chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Background, startInBackground } from '../support/process.js';
import { addToRepository, makeErofs, policyText } from '../support/images.js';
import { makeInstall } from '../support/install.js';
import { outputAs, runAs, type Outcome } from '../support/run-as.js';
import { makeScratch } from '../support/scratch.js';

const UID = 4711;
const scratch = makeScratch();
const root = join(scratch.path, 'root');
const prefix = join(scratch.path, 'prefix');
let bus: Background;
let inside: string[];

/** Directories of the machine that get a layer of the test's over them. */
const LAYERED = ['/etc', '/var/lib', '/usr/share/dbus-1', '/run'];

before(async () => {
  makeInstall({ PREFIX: prefix, SYSCONFDIR: join(root, 'etc') });
  for (const directory of LAYERED) mkdirSync(join(root, directory), { recursive: true });
  mkdirSync(join(root, 'run/dbus'));
  const image = join(scratch.path, 'image.erofs');
  const digest = makeErofs(image, { 'hello.txt': 'hello\n' });
  addToRepository(join(root, 'var/lib/cfsmountd/repo'), image, 'base');
  mkdirSync(join(root, 'var/lib/cfsmountd/repo/objects'), { recursive: true });
  writeFileSync(join(root, 'etc/cfsmountd/policy.d/test.toml'), policyText({ digests: [digest], users: [UID] }));
  outputAs(0, ['cp', '-r', join(prefix, 'share/dbus-1/system-services'), join(root, 'usr/share/dbus-1/')]);
  // A bus takes nobody whom the user database does not know.
  outputAs(0, ['cp', '/etc/passwd', join(root, 'etc/passwd')]);
  appendFileSync(join(root, 'etc/passwd'), `test:x:${UID}:${UID}::/:/bin/false\n`);
  const overlays = LAYERED.map((directory, i) => {
    const work = join(scratch.path, `work-${i}`);
    mkdirSync(work);
    return `mount -t overlay none -o lowerdir=${directory},upperdir=${join(root, directory)},workdir=${work} ${directory}`;
  });
  const script = join(scratch.path, 'bus.sh');
  writeFileSync(script, `set -e\n${overlays.join('\n')}\nexec dbus-daemon --system --nofork --nopidfile --print-address=2\n`);
  chmodSync(script, 0o755);
  bus = startInBackground(['unshare', '--mount', '--propagation=private', 'sh', script], {});
  await bus.says('unix:path=');
  inside = ['nsenter', `--mount=/proc/${bus.process.pid}/ns/mnt`];
});
after(async () => {
  await bus.ended('SIGTERM'); // and the service ends with its bus
  scratch.remove();
});

const call = (...words: string[]): string =>
  outputAs(0, [...inside, 'busctl', '--system', ...words], {
    env: { DBUS_SYSTEM_BUS_ADDRESS: 'unix:path=/run/dbus/system_bus_socket' },
  });

function asUser(script: string): Outcome {
  const namespace = ['unshare', '-U', '-r', '-m', 'sh', '-ec', script];
  return runAs(0, [...inside, 'setpriv', `--reuid=${UID}`, `--regid=${UID}`, '--clear-groups', '--', ...namespace]);
}

test('nobody has the name, and the first call brings the service', () => {
  const owned = (): string =>
    call('call', 'org.freedesktop.DBus', '/', 'org.freedesktop.DBus', 'NameHasOwner', 's', 'org.composefs.Mount1');
  assert.equal(owned(), 'b false\n');
  const get = ['org.freedesktop.DBus.Properties', 'Get', 'ss', 'org.composefs.Mount1', 'Features'];
  assert.match(call('call', 'org.composefs.Mount1', '/org/composefs/Mount1', ...get), /"erofs"/);
  assert.equal(owned(), 'b true\n');
});

test('a user in a namespace of its own mounts over the bus, and on the direct socket that came with it', () => {
  for (const address of ['system', 'unix:path=/run/cfsmountd/socket']) {
    const mounted = `${prefix}/bin/cfsctl --address ${address} mount base /mnt && cat /mnt/hello.txt`;
    const { stdout, stderr } = asUser(`mount -t tmpfs none /mnt; ${mounted}; cat /sys/block/loop*/loop/backing_file`);
    assert.deepEqual([stdout.split('\n')[0], stderr], ['hello', '']);
    assert.match(stdout, /\/repo\/objects\//, 'EROFS cannot read a file on overlayfs: it is behind a loop device');
  }
});
