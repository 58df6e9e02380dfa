// cfsctl as people use it: the built program, run by a user in a user namespace of its own.
import assert from 'node:assert/strict';
import { chmodSync, chownSync, copyFileSync, mkdirSync, mkdtempSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { VERSION } from '../../core/wire/version.js';
import { startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, makeErofs, makeSampleRepository, policyText } from '../support/images.js';
import { DIST, withoutSample } from '../support/machine.js';
import { type Outcome, runAs } from '../support/run-as.js';
import { makeScratch } from '../support/scratch.js';

const UID = 4711;
const CFSCTL = join(DIST, 'cfsctl');
const UNSHARE = ['unshare', '-U', '-r', '-m'];
const scratch = makeScratch();
const repository = join(scratch.path, 'repository');
const image = join(scratch.path, 'image.erofs');
const untrusted = join(scratch.path, 'untrusted.erofs');
let daemon: Daemon;
let digest: string;
let untrustedDigest: string;
/** A directory of the user's own for each test: mount point, upper and work directory. */
let home: string;

before(async () => {
  digest = makeErofs(image, { 'hello.txt': 'hello\n' });
  untrustedDigest = makeErofs(untrusted, { 'evil.txt': 'evil\n' });
  const sample = withoutSample() ? [] : [makeSampleRepository(repository)];
  addToRepository(repository, image, 'team/base');
  addToRepository(repository, untrusted, 'untrusted');
  const policy = policyText({ digests: [digest, ...sample], repositories: { [repository]: 'trusted' } });
  daemon = await startDaemon({ policy });
  home = mkdtempSync(join(scratch.path, 'home-'));
  for (const name of ['', 'mnt', 'upper', 'work']) {
    if (name) mkdirSync(join(home, name));
    chownSync(join(home, name), UID, UID);
  }
});
after(async () => {
  await daemon?.stop();
  scratch.remove();
});

/** A shell script in a new user namespace; `cfsctl` in it is the built program, talking to our daemon. */
function inNamespace(script: string): Outcome {
  const shell = `set -e; cd ${home}; cfsctl() { ${CFSCTL} --address ${daemon.address} "$@"; }\n${script}`;
  return runAs(UID, ['sh', '-c', shell], { within: UNSHARE });
}

function cfsctl(...words: string[]): Outcome {
  return runAs(UID, [CFSCTL, '--address', daemon.address, ...words], { cwd: home });
}

function assertDone({ status, stdout, stderr }: Outcome, output: string | RegExp): void {
  assert.equal(stderr, '');
  assert.equal(status, 0);
  if (typeof output === 'string') assert.equal(stdout, output);
  else assert.match(stdout, output);
}

function assertFailed({ status, stdout, stderr }: Outcome, expected: number, ...patterns: readonly RegExp[]): void {
  for (const pattern of patterns) assert.match(stderr, pattern);
  assert.deepEqual({ status, stdout }, { status: expected, stdout: '' });
  assert.doesNotMatch(stderr, /at .*:\d+:\d+/, 'no stack');
}

const IMAGES: Readonly<Record<string, () => string>> = {
  'by digest': () => digest,
  'by name': () => '--name team/base',
  'by path': () => image,
  'by path, the digest given': () => `--digest ${digest} ${image}`,
};

for (const [how, words] of Object.entries(IMAGES)) {
  test(`mount ${how}: silent, and the image is there, its root's files root's`, () => {
    assertDone(inNamespace(`cfsctl mount ${words()} mnt\ncat mnt/hello.txt\nstat -c %u:%g mnt/hello.txt`), 'hello\n0:0\n');
  });
}

test(
  'a composefs image by name: objects are found, and the restrictions asked for are on the mount',
  { skip: withoutSample() },
  () => {
    const script =
      'cfsctl mount --nosuid --noexec sample mnt\nmnt/bin/busybox true || echo "not run: $?"\ngrep " $PWD/mnt " /proc/self/mounts';
    const outcome = inNamespace(script);
    assert.equal(outcome.status, 0, outcome.stderr);
    assert.match(outcome.stdout, /^not run: 126\ncomposefs:sha256:[0-9a-f]{64} .* overlay ro,nosuid,nodev,noexec,/m);
  },
);

test('mount --json tells what was mounted', () => {
  const { status, stdout, stderr } = inNamespace(`cfsctl --json mount ${image} mnt`);
  assert.equal(status, 0, stderr);
  const result = JSON.parse(stdout) as Record<string, unknown>;
  assert.match(String(result['id']), /^\d+$/);
  assert.deepEqual({ ...result, id: 0 }, { id: 0, digest, rule: 'test', verified: 'copy', type: 'erofs', locked: true });
});

test('mount --upperdir --workdir: writable, what is written lands in upperdir, and the image stays as it is', () => {
  const outcome = inNamespace(`
    cfsctl mount --upperdir upper --workdir work ${digest} mnt
    echo changed > mnt/hello.txt; echo new > mnt/new.txt; mkdir mnt/directory; cat mnt/hello.txt
    umount mnt
    cfsctl mount ${digest} mnt; cat mnt/hello.txt; ls mnt`);
  assertDone(outcome, 'changed\nhello\nhello.txt\n');
  assert.deepEqual(readdirSync(join(home, 'upper')).sort(), ['directory', 'hello.txt', 'new.txt']);
});

test('mounts lists what lives, with and without --json, and it is gone with its namespace', async () => {
  const outcome = inNamespace(`
    cfsctl mount ${digest} mnt
    cfsctl mounts
    cfsctl --json mounts
    umount mnt; sleep 0.2
    cfsctl --json mounts`);
  assert.equal(outcome.status, 0, outcome.stderr);
  const [header, row, json, rest] = outcome.stdout.split('\n');
  assert.match(header!, /^ID +USER +DIGEST +RULE +SINCE +TYPE$/);
  assert.ok(row!.includes(digest.slice(0, 'sha256:'.length + 12)), row);
  const [entry] = JSON.parse(json!) as Record<string, unknown>[];
  assert.deepEqual([entry!['uid'], entry!['digest'], entry!['rule']], [UID, digest, 'test']);
  assert.ok(Math.abs(Date.parse(String(entry!['since'])) - Date.now()) < 60_000);
  assert.equal(rest, '[]');
});

test('images lists what the caller may mount, and nothing else', () => {
  const { stdout } = cfsctl('images');
  assert.match(stdout, /^NAME +DIGEST +TYPE +RULE +REPOSITORY\n/);
  assert.match(stdout, /^team\/base +sha256:[0-9a-f]{12} +erofs +test /m);
  assert.ok(!stdout.includes('untrusted'));
  const entries = JSON.parse(cfsctl('--json', 'images').stdout) as Record<string, string>[];
  assert.deepEqual(
    entries.find(({ name }) => name === 'team/base'),
    {
      name: 'team/base',
      digest,
      rule: 'test',
      repository,
      type: 'erofs',
    },
  );
});

test('check says what may be mounted, and why', () => {
  assertDone(cfsctl('check', image), /^allowed\nrule +test\nreason +rule "test" trusts the digest/);
  assertDone(cfsctl('check', '--name', 'team/base'), /^allowed\n/);
  const report = JSON.parse(cfsctl('--json', 'check', image).stdout) as Record<string, unknown>;
  assert.deepEqual([report['verdict'], report['digest'], report['type']], ['allow', digest, 'erofs']);
});

test('check of a file that is not trusted: exit 1, with its digest, reason and hint', () => {
  const { status, stdout } = cfsctl('check', untrusted);
  assert.equal(status, 1);
  assert.match(stdout, /^denied\n/);
  assert.ok(stdout.includes(untrustedDigest));
  assert.match(stdout, /^hint +/m);
});

test('status shows version, features and policy', () => {
  assertDone(cfsctl('status'), new RegExp(`^version +${VERSION}\\naddress +unix:path=.*\\npolicy +.*rules.*\\nloaded +\\d{4}-`));
  const status = JSON.parse(cfsctl('--json', 'status').stdout) as Record<string, unknown>;
  assert.equal(status['version'], VERSION);
  assert.ok((status['features'] as string[]).includes('erofs'));
});

const REFUSED: Readonly<Record<string, { words: () => string; says: readonly RegExp[] }>> = {
  'an untrusted file': { words: () => untrusted, says: [/^cfsctl: .*trust/, /^ {2}hint: /m] },
  'an untrusted digest': { words: () => untrustedDigest, says: [/^cfsctl: .*trust/, /^ {2}hint: /m] },
  'an untrusted name': { words: () => 'untrusted', says: [/^cfsctl: .*trust/, /^ {2}hint: /m] },
  'a name that is not there': {
    words: () => 'no-such',
    says: [/^cfsctl: no repository has this image$/m, /hint: cfsctl images/],
  },
  'a file that is not there': { words: () => './no-such', says: [/ENOENT/, /--name/] },
  'another digest than the one expected': { words: () => `--digest ${untrustedDigest} ${image}`, says: [/digest/] },
  'a name with another digest than expected': { words: () => `--digest ${untrustedDigest} --name team/base`, says: [/digest/] },
  'a digest one digit short': { words: () => digest.slice(0, -1), says: [/^cfsctl: /] },
  'something that is no image': { words: () => '/etc/passwd', says: [/^cfsctl: /] },
};

for (const [what, { words, says }] of Object.entries(REFUSED)) {
  test(`mount refuses ${what}: exit 1, the reason and what to do, nothing mounted`, () => {
    const script = `cfsctl mount ${words()} mnt && exit 9; status=$?; ls mnt; exit $status`;
    assertFailed(inNamespace(script), 1, ...says);
  });
}

test('an error as JSON is one line with code, message and hint', () => {
  const { status, stderr } = inNamespace(`cfsctl --json mount ${untrusted} mnt`);
  assert.equal(status, 1);
  const { code, message, hint } = JSON.parse(stderr) as Record<string, string>;
  assert.equal(code, 'NotTrusted');
  assert.ok(message!.length > 0 && hint!.length > 0);
  assert.equal(stderr.trimEnd().split('\n').length, 1);
});

test('outside a user namespace it says what to run', () => {
  assertFailed(cfsctl('mount', digest, 'mnt'), 1, /podman unshare cfsctl mount/, /unshare -Urm/);
});

test('in a user namespace without a mount namespace it says what to run', () => {
  const words = [CFSCTL, '--address', daemon.address, 'mount', digest, 'mnt'];
  assertFailed(
    runAs(UID, words, { within: ['unshare', '-U', '-r'], cwd: home }),
    1,
    /no mount namespace of its own/,
    /unshare -Urm/,
  );
});

test('a mount point that is missing, or no directory', () => {
  assertFailed(inNamespace(`cfsctl mount ${digest} nowhere`), 1, /nowhere does not exist/, /hint: /);
  assertFailed(inNamespace(`cfsctl mount ${digest} ${image}`), 1, /is not a directory/);
});

const MISUSES: Readonly<Record<string, readonly string[]>> = {
  'no command': [],
  'an unknown command': ['mont'],
  'no image': ['mount'],
  'no mount point': ['mount', 'base'],
  'an argument too many': ['mount', 'base', 'mnt', 'more'],
  'an unknown option': ['mount', '--writable', 'base', 'mnt'],
  '--upperdir without --workdir': ['mount', '--upperdir', 'upper', 'base', 'mnt'],
  '--workdir without --upperdir': ['mount', '--workdir', 'work', 'base', 'mnt'],
  '--objects with a name': ['mount', '--objects', 'mnt', 'base', 'mnt'],
  'a time-out that is none': ['--timeout', 'soon', 'status'],
};

for (const [what, words] of Object.entries(MISUSES)) {
  test(`wrong usage is exit 2: ${what}`, () => assert.equal(cfsctl(...words).status, 2));
}

test('no service: exit 1, and what to do', () => {
  const nobody = runAs(UID, [CFSCTL, '--address', `unix:path=${scratch.path}/nobody`, 'status']);
  assertFailed(nobody, 1, /^cfsctl: the service cannot be reached: .*no such socket/, /hint: /);
});

test('reload is for root', () => {
  assertFailed(cfsctl('reload'), 1, /for root/);
  assertDone(runAs(0, [CFSCTL, '--address', daemon.address, 'reload']), '');
});

test('in a namespace of many ids, as podman unshare makes it', async () => {
  const actor = await startActor({ uid: UID, namespace: 'many', subordinate: 1_000_000 });
  try {
    const words = ['-U', '-m', '-t', String(actor.pid), '-S', '0', '-G', '0'];
    const own = mkdtempSync(join(home, 'many-'));
    chmodSync(own, 0o755);
    copyFileSync(image, join(own, 'image'));
    const script = `${CFSCTL} --address ${daemon.address} mount ${digest} ${own} && cat ${own}/hello.txt && umount ${own}`;
    const { status, stdout, stderr } = runAs(0, ['nsenter', ...words, 'sh', '-c', script]);
    assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: 'hello\n', stderr: '' });
  } finally {
    await actor.stop();
  }
});

test('everything the tests mounted is gone', async () => {
  const live = (): unknown[] =>
    JSON.parse(runAs(0, [CFSCTL, '--address', daemon.address, '--json', 'mounts']).stdout) as unknown[];
  await daemon.eventually('no live mounts', () => live().length === 0);
  assert.deepEqual(readdirSync(join(home, 'mnt')), []);
});
