// The package on a fresh system, and the first calls of an ordinary user.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';

import { parseDump } from '../../../core/image/dump-parser.js';
import { writeImage } from '../../../core/image/writer.js';
import { VERSION } from '../../../core/wire/version.js';
import { addToRepository, digestOfFile, makeErofs, policyText } from '../../support/images.js';
import { run } from '../../support/machine.js';
import { assertDone } from '../../support/outcome.js';
import {
  ALICE,
  audits,
  becomes,
  inPodman,
  inUnshare,
  installPackage,
  ourProcesses,
  show,
  stateOf,
  writePolicy,
} from '../guest.js';

const REPOSITORY = '/srv/repository';
/** Of a user that only many ids have, and for its owner alone. */
const DUMP = `/ 0 40755 2 0 0 0 0.0 - - -
/note 5 100600 1 5 5 0 0.0 - mine\\n -
/program 19 100755 1 0 0 0 0.0 - #!/bin/sh\\necho\\x20ran\\n -
`;

before(() => {
  assert.ok(!existsSync('/usr/sbin/cfsmountd'), 'a fresh system');
  mkdirSync(join(REPOSITORY, 'objects'), { recursive: true });
});

test('the guest is what these tests are for: Linux 6.12 with fs-verity, systemd 257', () => {
  assert.match(run('uname', '-r'), /^6\.12\./);
  assert.match(run('systemctl', '--version'), /^systemd 257 /);
  assert.ok(existsSync('/sys/fs/ext4/features/verity'));
});

test('apt installs the package without a network; the socket is open, the service waits', () => {
  installPackage(1);
  assert.equal(stateOf('cfsmountd.socket'), 'active');
  assert.equal(stateOf('cfsmountd.service'), 'inactive');
  assert.deepEqual(ourProcesses(), []);
});

function makeImages(): void {
  const plain = '/var/tmp/plain.erofs';
  makeErofs(plain, { 'hello.txt': 'hello\n' });
  const composefs = '/var/tmp/composefs.cfs';
  writeFileSync(composefs, writeImage(parseDump(Buffer.from(DUMP)), 1));
  addToRepository(REPOSITORY, plain, 'plain');
  addToRepository(REPOSITORY, composefs, 'composefs');
  writePolicy(
    policyText({ digests: [plain, composefs].map((image) => digestOfFile(image)), repositories: { [REPOSITORY]: 'trusted' } }),
  );
}

test('the first call starts the service: by the socket, in unshare', () => {
  makeImages();
  assertDone(inUnshare(ALICE, 'cfsctl mount plain /mnt/m && cat /mnt/m/hello.txt'), 'hello\n');
  assert.equal(stateOf('cfsmountd.service'), 'active');
});

test('a composefs image: in unshare its program runs, in podman unshare a file of another user is that user’s', () => {
  assertDone(inUnshare(ALICE, 'cfsctl mount composefs /mnt/m && /mnt/m/program'), 'ran\n');
  assertDone(inPodman(ALICE, 'cfsctl mount composefs /mnt/m && cat /mnt/m/note && stat -c %u:%g /mnt/m/note'), 'mine\n5:5\n');
});

test('cfsctl status says what this kernel lacks', () => {
  const { stdout } = inUnshare(ALICE, 'cfsctl --json status');
  const { version, features } = JSON.parse(stdout) as { version: string; features: string[] };
  assert.equal(version, VERSION);
  assert.deepEqual(features, ['erofs', 'overlay-layer-paths', 'overlay-verity', 'fs-verity', 'statmount', 'peer-pidfd']);
});

test('the first call starts the service: by the bus, in unshare and in podman unshare', async () => {
  for (const call of [inUnshare, inPodman]) {
    run('systemctl', 'stop', 'cfsmountd.service');
    await becomes('cfsmountd.service', 'inactive');
    assertDone(call(ALICE, 'cfsctl --address system mount plain /mnt/m && cat /mnt/m/hello.txt'), 'hello\n');
    assert.equal(stateOf('cfsmountd.service'), 'active');
  }
});

test('by the socket, in podman unshare', async () => {
  run('systemctl', 'stop', 'cfsmountd.service');
  await becomes('cfsmountd.service', 'inactive');
  assertDone(inPodman(ALICE, 'cfsctl mount plain /mnt/m && cat /mnt/m/hello.txt'), 'hello\n');
});

function setIdleExit(seconds: number): void {
  const file = '/etc/cfsmountd/cfsmountd.conf';
  writeFileSync(file, readFileSync(file, 'utf8').replace(/^#?idle-exit.*$/m, `idle-exit = ${seconds}`));
  run('systemctl', 'restart', 'cfsmountd.service');
}

test('idle: it ends, nothing of ours runs, and the next call starts it again', async () => {
  setIdleExit(1);
  await becomes('cfsmountd.service', 'inactive');
  assert.equal(show('cfsmountd.service', 'Result'), 'success');
  assert.deepEqual(ourProcesses(), []);
  assert.equal(stateOf('cfsmountd.socket'), 'active');
  assertDone(inUnshare(ALICE, 'cfsctl mount plain /mnt/m && cat /mnt/m/hello.txt'), 'hello\n');
  setIdleExit(300);
});

test('the journal has one audit line for each decision', () => {
  const before = audits().length;
  assert.equal(inUnshare(ALICE, 'cfsctl mount plain /mnt/m').status, 0);
  assert.equal(inUnshare(ALICE, 'cfsctl check composefs').status, 0);
  assert.equal(inUnshare(ALICE, `cfsctl mount sha256:${'00'.repeat(32)} /mnt/m`).status, 1);
  const made = audits().slice(before);
  assert.deepEqual(
    made.map(({ verdict, uid }) => [verdict, uid]),
    [
      ['allow', ALICE],
      ['allow', ALICE],
      ['deny', ALICE],
    ],
  );
});

test('the exposure that systemd-analyze finds is at most 2.5', (t) => {
  const exposure = (unit: string): number => {
    const said = run('systemd-analyze', '--no-pager', 'security', unit);
    return Number(/Overall exposure level for \S+: ([0-9.]+)/.exec(said)![1]);
  };
  const [ours, theirs] = [exposure('cfsmountd.service'), exposure('systemd-mountfsd.service')];
  t.diagnostic(`exposure by systemd-analyze security: cfsmountd ${ours}, systemd-mountfsd ${theirs}`);
  assert.ok(ours <= 2.5, String(ours));
});
