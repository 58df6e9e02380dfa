// make install: everything in its place, with the paths of the place in it, and able to work from there.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { startActor } from '../support/actor.js';
import { makeInstall } from '../support/install.js';
import { makeErofs, policyText } from '../support/images.js';
import { ROOT, run } from '../support/machine.js';
import { startInBackground } from '../support/process.js';
import { makeScratch } from '../support/scratch.js';

const scratch = makeScratch();
/** As a package is made: DESTDIR, and the prefix of the system. */
const staged = join(scratch.path, 'staged');
/** As somebody installs it for real: a prefix that is there. */
const prefix = join(scratch.path, 'prefix');
const sysconfdir = join(scratch.path, 'etc');

before(() => {
  makeInstall({ DESTDIR: staged, PREFIX: '/usr', NODE: '/usr/bin/node' });
  makeInstall({ PREFIX: prefix, SYSCONFDIR: sysconfdir });
});
after(() => scratch.remove());

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name));
}

const EVERYTHING = [
  'etc/cfsmountd/cfsmountd.conf',
  'usr/bin/cfsctl',
  'usr/lib/cfsmountd/cfsctl',
  'usr/lib/cfsmountd/cfsmountd',
  'usr/lib/cfsmountd/cfsmountd-park',
  'usr/lib/cfsmountd/cfsmountd-worker.cjs',
  'usr/lib/cfsmountd/code/cfsctl.cjs',
  'usr/lib/cfsmountd/code/cfsmountd.cjs',
  'usr/lib/cfsmountd/write-code-cache.cjs',
  'usr/lib/systemd/system/cfsmountd.service',
  'usr/lib/systemd/system/cfsmountd.socket',
  'usr/lib/systemd/system-preset/90-cfsmountd.preset',
  'usr/lib/systemd/user/cfsctl-attach-store.service',
  'usr/lib/systemd/user/cfsctl-attach@.service',
  'usr/lib/systemd/user/cfsctl-volume-plugin.service',
  'usr/lib/systemd/user/cfsctl-volume-plugin.socket',
  'usr/lib/tmpfiles.d/cfsmountd.conf',
  'usr/sbin/cfsmountd',
  'usr/share/bash-completion/completions/cfsctl',
  'usr/share/dbus-1/system-services/org.composefs.Mount1.service',
  'usr/share/dbus-1/system.d/org.composefs.Mount1.conf',
  'usr/share/cfsmountd/policy.schema.json',
  'usr/share/doc/cfsmountd/examples/site.volume',
  'usr/share/doc/cfsmountd/examples/web.container',
  'usr/share/doc/cfsmountd/hardening.md',
  'usr/share/doc/cfsmountd/podman.md',
  'usr/share/doc/cfsmountd/third-party.txt',
  'usr/share/fish/vendor_completions.d/cfsctl.fish',
  'usr/share/man/man1/cfsctl.1',
  'usr/share/man/man5/cfsmountd-policy.5',
  'usr/share/man/man5/cfsmountd.conf.5',
  'usr/share/man/man5/org.composefs.Mount1.5',
  'usr/share/man/man8/cfsmountd.8',
  'usr/share/polkit-1/actions/org.composefs.mount1.policy',
  'usr/share/zsh/site-functions/_cfsctl',
];

test('everything is there, and only root may change it', () => {
  for (const path of EVERYTHING) assert.ok(existsSync(join(staged, path)), path);
  for (const path of filesBelow(staged)) {
    const { mode, uid } = statSync(path);
    assert.deepEqual([uid, mode & 0o022], [0, 0], path);
  }
});

test('paths in the files are those of the installation', () => {
  for (const path of filesBelow(staged)) {
    if (!path.endsWith('.node')) assert.doesNotMatch(readFileSync(path, 'latin1'), /@(LIBDIR|BINDIR|PROGRAM|BUILD)@/, path);
  }
  const unit = (root: string, name: string): string => readFileSync(join(root, 'lib/systemd', name), 'utf8');
  assert.match(unit(join(staged, 'usr'), 'system/cfsmountd.service'), /^ExecStart=\/usr\/lib\/cfsmountd\/cfsmountd$/m);
  assert.ok(unit(prefix, 'system/cfsmountd.service').includes(`\nExecStart=${prefix}/lib/cfsmountd/cfsmountd\n`));
  assert.ok(unit(prefix, 'user/cfsctl-attach@.service').includes(`'${prefix}/bin/cfsctl mount `));
});

test('a bus policy goes where dbus-daemon looks for it: /usr/share or /etc, not /usr/local/share', () => {
  assert.ok(existsSync(join(sysconfdir, 'dbus-1/system.d/org.composefs.Mount1.conf')));
  assert.ok(!existsSync(join(prefix, 'share/dbus-1/system.d')));
});

test('NODE is the interpreter of the programs; without it, the first in PATH', () => {
  const firstLine = (path: string): string => readFileSync(path, 'utf8').split('\n')[0]!;
  assert.equal(firstLine(join(staged, 'usr/lib/cfsmountd/cfsmountd')), '#!/usr/bin/node');
  assert.equal(firstLine(join(prefix, 'lib/cfsmountd/cfsctl')), '#!/usr/bin/env node');
  assert.equal(readlinkSync(join(prefix, 'bin/cfsctl')), '../lib/cfsmountd/cfsctl');
});

test("V8's code caches are written for the Node.js of this machine, and not into a package", () => {
  const count = (root: string, ending: string): number =>
    readdirSync(join(root, 'lib/cfsmountd/code')).filter((name) => name.endsWith(ending)).length;
  assert.ok(count(prefix, '.cjs') >= 2);
  assert.equal(count(prefix, '.cache'), count(prefix, '.cjs'));
  assert.equal(count(join(staged, 'usr'), '.cache'), 0);
});

test('a configuration file that is there is left alone', () => {
  const file = join(sysconfdir, 'cfsmountd/cfsmountd.conf');
  assert.match(readFileSync(file, 'utf8'), /^#idle-exit = 300$/m);
  writeFileSync(file, '# mine\n');
  makeInstall({ PREFIX: prefix, SYSCONFDIR: sysconfdir });
  assert.equal(readFileSync(file, 'utf8'), '# mine\n');
});

test('the installed daemon and the installed client work, from their links', async () => {
  const image = join(scratch.path, 'image.erofs');
  const policy = join(scratch.path, 'policy.d');
  mkdirSync(policy);
  writeFileSync(join(policy, 'test.toml'), policyText({ digests: [makeErofs(image, { 'hello.txt': 'hello\n' })] }));
  const socket = join(scratch.path, 'socket');
  const places = ['--policy-dir', policy, '--state-dir', join(scratch.path, 'state'), '--socket', socket, '--bus', 'none'];
  const daemon = startInBackground([join(prefix, 'sbin/cfsmountd'), ...places], {});
  await daemon.says('"msg":"ready"');
  const actor = await startActor({ uid: 4711 });
  const script = `mount -t tmpfs none /mnt && ${prefix}/bin/cfsctl --address unix:path=${socket} mount ${image} /mnt && cat /mnt/hello.txt`;
  const words = ['-U', '-m', '-t', String(actor.pid), '-S', '0', '-G', '0', 'sh', '-c', script];
  const { stdout, stderr } = spawnSync('nsenter', words, { encoding: 'utf8' });
  await actor.stop();
  assert.deepEqual([stdout, stderr], ['hello\n', '']);
  assert.equal(await daemon.ended('SIGTERM'), 0);
});

/** What systemd before 253, 254 and a libseccomp older than a system call say of the unit. */
const TOO_NEW = /notify-reload|'RestartSteps'|'RestartMaxDelaySec'|'FileDescriptorStorePreserve'|statmount|listmount/;

function complaintsOf(...words: string[]): string[] {
  const env = { ...process.env, MANPATH: join(prefix, 'share/man'), XDG_RUNTIME_DIR: scratch.path };
  const { status, stderr } = spawnSync('systemd-analyze', words, { encoding: 'utf8', env });
  const complaints = stderr.split('\n').filter((line) => line !== '' && !TOO_NEW.test(line));
  return status === 0 ? complaints : [`exit status ${status}`, ...complaints];
}

test('systemd-analyze verify has nothing to say of the units, their manual pages included', () => {
  const units = join(prefix, 'lib/systemd');
  assert.deepEqual(complaintsOf('verify', join(units, 'system/cfsmountd.service'), join(units, 'system/cfsmountd.socket')), []);
  for (const unit of ['attach@.service', 'attach-store.service', 'volume-plugin.service', 'volume-plugin.socket'])
    assert.deepEqual(complaintsOf('--user', 'verify', join(units, `user/cfsctl-${unit}`)), []);
});

test('systemd-analyze security: 2.5 at most', () => {
  const unit = join(prefix, 'lib/systemd/system/cfsmountd.service');
  assert.deepEqual(complaintsOf('--no-pager', 'security', '--offline=yes', '--threshold=25', unit), []);
});

test('mandoc and groff have nothing to say of the manual pages', () => {
  for (const page of readdirSync(join(ROOT, 'man'))) {
    const lint = spawnSync('mandoc', ['-T', 'lint', '-W', 'style', join(ROOT, 'man', page)], { encoding: 'utf8' }).stdout;
    const others = lint.split('\n').filter((line) => line !== '' && !line.includes('referenced manual not found'));
    assert.deepEqual(others, []);
    const { status, stderr } = spawnSync('groff', ['-ww', '-mandoc', '-Tutf8', '-z', join(ROOT, 'man', page)], {
      encoding: 'utf8',
    });
    assert.deepEqual([status, stderr], [0, '']);
  }
});

test('references between our manual pages lead somewhere', () => {
  const pages = readdirSync(join(ROOT, 'man'));
  const ours = new Set(['cfsctl', 'cfsmountd', 'cfsmountd.conf', 'cfsmountd-policy', 'org.composefs.Mount1']);
  for (const page of pages) {
    for (const [, name, section] of readFileSync(join(ROOT, 'man', page), 'utf8').matchAll(/^\.(?:Pq )?Xr (\S+) (\d)/gm)) {
      if (ours.has(name!)) assert.ok(pages.includes(`${name}.${section}`), `${page}: ${name}(${section})`);
    }
  }
});

test('the completions are of the shells they are for', () => {
  const share = join(prefix, 'share');
  run('bash', '-n', join(share, 'bash-completion/completions/cfsctl'));
  assert.match(readFileSync(join(share, 'zsh/site-functions/_cfsctl'), 'utf8'), /^#compdef cfsctl\n/);
  assert.match(readFileSync(join(share, 'fish/vendor_completions.d/cfsctl.fish'), 'utf8'), /^complete -c cfsctl /m);
});
