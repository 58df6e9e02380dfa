// Rootless podman 5 with images of the installed service, their objects held to their digests by fs-verity.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chownSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { makeDockerArchive } from '../../support/docker-archive.js';
import { run } from '../../support/machine.js';
import { makeRootTree } from '../../support/podman-kit.js';
import type { Outcome } from '../../support/run-as.js';
import { makeScratch } from '../../support/scratch.js';
import { stateOf, writePolicy } from '../guest.js';

const REPOSITORY = '/var/lib/cfsmountd/repo';
const IMAGE = 'localhost/team/web';
const PAYLOAD = 200_000;
const scratch = makeScratch();

const as = (name: string, ...words: string[]): Outcome => {
  const { status, stdout, stderr } = spawnSync('as-user', [name, ...words], { encoding: 'utf8', timeout: 300_000 });
  return { status, stdout, stderr };
};
const done = (name: string, ...words: string[]): string => {
  const { status, stdout, stderr } = as(name, ...words);
  assert.equal(status, 0, `${words.join(' ')}\n${stdout}${stderr}`);
  return stdout;
};
const runImage = (name: string, ...words: string[]): Outcome =>
  as(name, 'podman', 'run', '--rm', '--network=none', IMAGE, ...words);
const attach = (name: string, what = '--all'): Outcome => as(name, 'podman', 'unshare', 'cfsctl', 'attach', what);
const trust = (): string => run('cfsctl', 'policy', 'trust', 'team/web', '--name', 'team-web', '--user', 'alice');

/** Path of the object that holds the file of the image. */
function objectOf(path: string): string {
  const image = join(REPOSITORY, 'images/refs/team/web');
  const listed = JSON.parse(run('cfsctl', '--json', 'ls', '-R', image)) as { path: string; object: string | null }[];
  return join(REPOSITORY, 'objects', listed.find((each) => each.path === path)!.object!);
}

before(() => {
  writePolicy('');
  const tree = makeRootTree(join(scratch.path, 'tree'), PAYLOAD);
  for (const name of ['hidden', 'gone']) {
    mkdirSync(join(tree, name));
    writeFileSync(join(tree, name, 'below'), 'below\n'.repeat(50));
  }
  const second = join(scratch.path, 'second');
  mkdirSync(join(second, 'hidden'), { recursive: true });
  for (const name of ['.wh.gone', 'hidden/.wh..wh..opq']) writeFileSync(join(second, name), '');
  writeFileSync(join(second, 'hidden/above'), 'above\n');
  const archive = join(scratch.path, 'web.tar');
  makeDockerArchive(archive, [tree, second]);
  run('cfsctl', 'oci', 'import', archive, 'team/web');
  run('cfsctl', 'podman', 'export-store');
  for (const name of ['alice', 'bob']) done(name, 'cfsctl', 'setup', 'podman', '--write');
});
after(() => {
  for (const name of ['alice', 'bob']) as(name, 'podman', 'system', 'migrate');
  for (const name of ['alice', 'bob']) as(name, 'cfsctl', 'setup', 'podman', '--undo', '--write');
  run('cfsctl', 'policy', 'untrust', 'team-web');
  scratch.remove();
});

test('an image that no rule trusts is not attached, and does not run', () => {
  const { status, stderr } = attach('alice', 'team/web');
  assert.equal(status, 1);
  assert.match(stderr, /trusted/);
  const all = attach('alice');
  assert.equal(all.status, 0, 'what one user may not have is in the way of none');
  assert.match(all.stderr, /team\/web.*trusted/s);
  const refused = runImage('alice', 'true');
  assert.notEqual(refused.status, 0);
  assert.match(refused.stderr, /podman unshare cfsctl attach --all/);
});

test('trusted for alice, it runs for her: what the layers make together, ids, writes; a composefs mount, and nothing of it in her storage', () => {
  trust();
  assert.deepEqual(attach('alice'), { status: 0, stdout: '', stderr: '' });
  const script = 'ls /hidden /gone; stat -c "%u %s" /data/payload /home/user/file; rm /etc/group && echo new >/new && cat /new';
  const { status, stdout, stderr } = runImage('alice', 'sh', '-c', script);
  assert.equal(status, 0, stderr);
  assert.deepEqual(stdout.trim().split('\n'), ['/hidden:', 'above', `0 ${PAYLOAD}`, '1000 240', 'new']);
  assert.match(stderr, /\/gone: No such file/);
  assert.match(done('alice', 'podman', 'unshare', 'cat', '/proc/self/mountinfo'), / ro,nodev\S* .*- overlay composefs:sha256:/);
  const own = Number(run('du', '-sb', '/home/alice/.local/share/containers/storage').split('\t')[0]);
  assert.ok(own < PAYLOAD, `${own} bytes`);
});

test('for bob it stays refused, while alice has it', () => {
  const { status, stderr } = attach('bob', 'team/web');
  assert.equal(status, 1);
  assert.match(stderr, /trusted/);
  assert.notEqual(runImage('bob', 'true').status, 0);
});

test('a child is built on it, and runs; the base is not copied', () => {
  const context = '/home/alice/context';
  mkdirSync(context, { recursive: true });
  writeFileSync(join(context, 'Containerfile'), `FROM ${IMAGE}\nRUN echo child >/child\n`);
  for (const path of [context, join(context, 'Containerfile')]) chownSync(path, 1000, 1000);
  done('alice', 'podman', 'build', '--quiet', '--network=none', '--tag', 'child', context);
  assert.equal(
    done('alice', 'podman', 'run', '--rm', '--network=none', 'child', 'cat', '/child', '/hidden/above'),
    'child\nabove\n',
  );
  done('alice', 'podman', 'save', '--quiet', '--output', '/home/alice/child.tar', 'child');
  assert.equal(run('tar', '-xOf', '/home/alice/child.tar', 'manifest.json').split('.tar"').length - 1, 2, 'two layers');
  const own = Number(run('du', '-sb', '/home/alice/.local/share/containers/storage').split('\t')[0]);
  assert.ok(own < PAYLOAD, `${own} bytes`);
  done('alice', 'podman', 'rmi', '--force', 'child');
  for (const path of [context, '/home/alice/child.tar']) rmSync(path, { recursive: true });
});

test('exec, diff, cp, restart and commit of a running container; --read-only', () => {
  done('alice', 'podman', 'run', '--detach', '--name', 'long', '--network=none', IMAGE, 'sleep', '10000');
  done('alice', 'podman', 'exec', 'long', 'sh', '-c', 'echo inside >/made && rm /home/user/file');
  const changes = done('alice', 'podman', 'diff', 'long').trim().split('\n').sort();
  assert.deepEqual(changes, ['A /made', 'C /etc', 'C /home', 'C /home/user', 'D /home/user/file']);
  done('alice', 'podman', 'cp', 'long:/made', '/home/alice/made');
  assert.equal(readFileSync('/home/alice/made', 'utf8'), 'inside\n');
  done('alice', 'podman', 'restart', '--time', '0', 'long');
  assert.equal(done('alice', 'podman', 'exec', 'long', 'cat', '/made'), 'inside\n');
  done('alice', 'podman', 'commit', '--quiet', 'long', 'committed');
  done('alice', 'podman', 'rm', '--force', '--time', '0', 'long');
  const script = 'cat /made; ls /home/user; touch /x 2>&1 || cat /hidden/above';
  const { stdout } = as('alice', 'podman', 'run', '--rm', '--read-only', '--network=none', 'committed', 'sh', '-c', script);
  assert.match(stdout, /^inside\ntouch: .*Read-only file system\nabove\n$/);
  done('alice', 'podman', 'rmi', '--force', 'committed');
  rmSync('/home/alice/made');
});

test('after podman system migrate nothing is attached; the unit of the user attaches again', () => {
  done('alice', 'podman', 'system', 'migrate');
  assert.notEqual(runImage('alice', 'true').status, 0);
  done('alice', 'systemctl', '--user', 'start', 'cfsctl-attach-store.service');
  assert.equal(runImage('alice', 'cat', '/hidden/above').stdout, 'above\n');
  done('alice', 'systemctl', '--user', 'stop', 'cfsctl-attach-store.service');
});

test('an image is a volume: the plugin starts with the first call, by the service manager of the user, and lives through a restart of the service', () => {
  done('alice', 'systemctl', '--user', 'start', 'cfsctl-volume-plugin.socket');
  done('alice', 'podman', 'volume', 'create', '--driver', 'cfs', '--opt', 'image=team/web', 'data');
  const read = (): string =>
    done(
      'alice',
      'podman',
      'run',
      '--rm',
      '--network=none',
      '--volume',
      'data:/data:ro',
      IMAGE,
      'sh',
      '-c',
      'cat /data/hidden/above; touch /data/x 2>&1 || true',
    );
  const expected = /^above\ntouch: .*Read-only file system\n$/;
  assert.match(read(), expected);
  run('systemctl', 'restart', 'cfsmountd.service');
  assert.match(read(), expected);
  done('alice', 'podman', 'volume', 'rm', 'data');
  const refused = as('alice', 'podman', 'volume', 'create', '--driver', 'cfs', '--opt', `image=sha256:${'0'.repeat(64)}`, 'none');
  assert.notEqual(refused.status, 0);
  done('alice', 'systemctl', '--user', 'stop', 'cfsctl-volume-plugin.socket', 'cfsctl-volume-plugin.service');
});

test('an object exchanged for other bytes cannot be read in a container, and comes back with the right ones', () => {
  const object = objectOf('/home/user/file');
  const kept = join(scratch.path, 'kept');
  copyFileSync(object, kept);
  const read = (): Outcome => {
    done('alice', 'podman', 'system', 'migrate');
    run('sh', '-c', 'sync; echo 3 >/proc/sys/vm/drop_caches');
    assert.equal(attach('alice').status, 0);
    return runImage('alice', 'cat', '/home/user/file');
  };
  for (const enable of [false, true]) {
    rmSync(object);
    writeFileSync(object, 'other bytes '.repeat(20));
    if (enable) run('fsverity', 'enable', object);
    const { status, stdout, stderr } = read();
    assert.deepEqual([status, stdout], [1, ''], stderr);
    assert.match(stderr, /I\/O error|Input\/output error/);
  }
  rmSync(object);
  copyFileSync(kept, object);
  run('fsverity', 'enable', object);
  assert.equal(read().stdout, readFileSync(kept, 'utf8'));
});

test('no service: not attached, said why, and no container', () => {
  done('alice', 'podman', 'system', 'migrate');
  run('systemctl', 'stop', 'cfsmountd.socket', 'cfsmountd.service');
  run('systemctl', 'mask', '--runtime', 'cfsmountd.service');
  try {
    const { status, stderr } = attach('alice');
    assert.equal(status, 1);
    assert.match(stderr, /the service cannot be reached|cfsmountd/);
    assert.notEqual(runImage('alice', 'true').status, 0);
  } finally {
    run('systemctl', 'unmask', '--runtime', 'cfsmountd.service');
    run('systemctl', 'start', 'cfsmountd.socket');
  }
  assert.equal(stateOf('cfsmountd.socket'), 'active');
});

test('cfs-overlay attaches by itself, also for keep-id and auto, and asks at each start whether the image is still trusted', () => {
  done('alice', 'podman', 'system', 'reset', '--force');
  done('alice', 'cfsctl', 'setup', 'podman', '--mount-program', '--write');
  assert.equal(runImage('alice', 'stat', '-c', '%u', '/home/user/file').stdout, '1000\n');
  const kept = done(
    'alice',
    'podman',
    'run',
    '--rm',
    '--network=none',
    '--userns=keep-id',
    IMAGE,
    'sh',
    '-c',
    'id -u; cat /home/user/file >/dev/null && echo read',
  );
  assert.equal(kept, '1000\nread\n');
  const inAuto = 'id -u; stat -c %u /etc /home/user/file; echo mine >/tmp/new && stat -c %u /tmp/new';
  const auto = done('alice', 'podman', 'run', '--rm', '--network=none', '--userns=auto', IMAGE, 'sh', '-c', inAuto);
  assert.equal(auto, '0\n0\n1000\n0\n');
  const own = Number(run('du', '-sb', '/home/alice/.local/share/containers/storage').split('\t')[0]);
  assert.ok(own < PAYLOAD, `${own} bytes`);
  run('cfsctl', 'policy', 'untrust', 'team-web');
  const { status, stderr } = runImage('alice', 'true');
  assert.notEqual(status, 0);
  assert.match(stderr, /trusted/);
  trust();
  assert.equal(runImage('alice', 'true').status, 0);
  done('alice', 'podman', 'system', 'reset', '--force');
});
