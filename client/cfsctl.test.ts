// The built command against a stand-in service that answers what a test gave it. Longer than 300 lines: a third of them are tables.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseVerityDigest } from '../core/image/digest.js';
import { statusFlags } from '../core/kernel/fd.js';
import { O_ACCMODE, O_PATH, O_RDONLY } from '../core/kernel/file.js';
import { RequestError } from '../core/wire/errors.js';
import { encodeCheckReport, encodeImageEntry, encodeMountEntry } from '../core/wire/results.js';
import { variant } from '../core/wire/variants.js';
import { CFSCTL, startFixture } from './fake-service.test.js';
import { buildProgram } from './program.js';

const GOLDEN = fileURLToPath(new URL('../../client/help.golden.txt', import.meta.url));
const digest = parseVerityDigest(`sha256:${'ab'.repeat(32)}`);
const fixture = startFixture();
const { cfsctl } = fixture;

const usage: [args: string[], status: number, stderr: RegExp][] = [
  [[], 2, /^Usage: cfsctl/],
  [['frob'], 2, /^cfsctl: unknown command 'frob'\n  hint: cfsctl --help\n$/],
  [['moun'], 2, /unknown command 'moun'\n  hint: Did you mean mount\?\n +cfsctl --help\n/],
  [['--frob'], 2, /unknown option '--frob'/],
  [['images', '--frob'], 2, /unknown option/],
  [['images', 'x'], 2, /too many arguments/],
  [['mount', 'x'], 2, /missing required argument 'MOUNTPOINT'/],
  [['mount', '--upperdir', 'u', 'x', '/'], 2, /--upperdir and --workdir go together/],
  [['mount', '--workdir', 'u', 'x', '/'], 2, /--upperdir and --workdir go together/],
  [['mount', '--objects', 'u', 'x', '/'], 2, /--objects goes with/],
  [['check', '--objects', 'u', '--name', './x'], 2, /--objects goes with/],
  [['check', '--digest'], 2, /argument missing/],
  [['--timeout', '0', 'images'], 2, /more than 0 and at most 86400/],
  [['--timeout', '86400.1', 'images'], 2, /more than 0 and at most 86400/],
  [['--timeout', '1e2', 'images'], 2, /number of seconds/],
  [['--address', 'tcp:host=x', 'images'], 2, /not the address of a Unix socket/],
  [['--address', `unix:path=/${'x'.repeat(107)}`, 'images'], 1, /longer than 107 bytes/],
  [
    ['--address', 'unix:path=/nonexistent', 'images'],
    1,
    /unix:path=\/nonexistent: no such socket\n  hint: .*systemctl enable --now cfsmountd\.socket/,
  ],
  [['completion', 'tcsh'], 2, /Allowed choices are bash, zsh, fish/],
  [['mount', 'x', '/nonexistent'], 1, /mount point \/nonexistent does not exist/],
  [['mount', 'x', '/proc/self/status'], 1, /is not a directory/],
  [['mount', '--upperdir', '/nonexistent', '--workdir', '/', 'x', '/'], 1, /--upperdir \/nonexistent cannot be opened/],
  [['check', './nonexistent'], 1, /cannot be opened \(ENOENT\)\n  hint: .*--name/],
  [['check', '/dev/null'], 1, /not a regular file/],
  [['info'], 2, /missing required argument 'IMAGE'/],
  [['mkfs'], 2, /missing required argument 'SRC'/],
  [['mkfs', 'tree'], 2, /missing required argument 'IMAGE'/],
  [['mkfs', 'tree', 'x', 'y'], 2, /too many arguments/],
  [['mkfs', '--print-digest-only', 'tree', 'x'], 2, /--print-digest-only writes no IMAGE/],
  [['mkfs', '--print-digest', 'tree', '-'], 2, /standard output cannot take the image and something else/],
  [['mkfs', '--skip-xattrs', '--user-xattrs', 'tree', 'x'], 2, /exclude each other/],
  [['mkfs', '--min-version', '2', 'tree', 'x'], 2, /must be 0 or 1/],
  [['mkfs', '--max-version', '', 'tree', 'x'], 2, /must be 0 or 1/],
  [['mkfs', '--from-file', '--digest-store', 'x', 'dump', 'x'], 2, /--digest-store is for directories, not for dumps/],
  [['mkfs', '--from-file', '--use-epoch', 'dump', 'x'], 2, /--use-epoch is for directories/],
  [['mkfs', './nonexistent', 'x'], 1, /^cfsctl: the directory \.\/nonexistent cannot be opened \(ENOENT\)\n$/],
  [['mkfs', '--from-file', './nonexistent', 'x'], 1, /^cfsctl: \.\/nonexistent cannot be opened \(ENOENT\)\n$/],
  [['digest'], 2, /missing required argument 'FILE'/],
  [['digest', '--algorithm', 'sha1', 'x'], 2, /Allowed choices are sha256, sha512/],
  [['digest', '/dev/null'], 1, /^cfsctl: \/dev\/null is not a regular file\n$/],
  [['ls', './nonexistent'], 1, /^cfsctl: the image \.\/nonexistent cannot be opened \(ENOENT\)\n$/],
  [['dump', '--recursive', 'x'], 2, /unknown option/],
  [['objects', '--missing'], 2, /argument missing/],
  [['import', 'x'], 2, /missing required argument 'NAME'/],
  [['tag', 'x'], 2, /missing required argument 'NAME'/],
  [['rm'], 2, /missing required argument 'NAMES?'/],
  [['gc', 'x'], 2, /too many arguments/],
  [['fsck', '--repo'], 2, /argument missing/],
  [
    ['fsck', '--repo', '/nonexistent'],
    1,
    /the repository \/nonexistent: openat2: ENOENT\n  hint: cfsctl import makes a repository/,
  ],
  [['verify', 'x'], 2, /missing required argument 'STORE'/],
  [['verify', '/proc/self/status', '/nonexistent'], 1, /object store \/nonexistent cannot be opened \(ENOENT\)/],
  [['check', '--objects', '/nonexistent', '/proc/self/status'], 1, /--objects \/nonexistent cannot be opened/],
  [['policy'], 2, /^Usage: cfsctl policy/],
  [['policy', 'frob'], 2, /unknown command 'frob'/],
  [['policy', 'validate', 'a', 'b'], 2, /too many arguments/],
  [['policy', 'test', 'x'], 2, /required option '--user <user>' not specified/],
  [['policy', 'test', '--user', 'no-such-user', '--policy-dir', '/usr/share', 'x'], 1, /this system has no user no-such-user/],
  [['policy', 'test', '--user', 'root', '--policy-dir', '/usr/share', 'no-such'], 1, /no repository has an image no-such/],
  [['policy', 'test', '--user', 'root', '--policy-dir', '/usr/share', 'sha256:12'], 1, /64 hex digits, not 2/],
  [['policy', 'validate', '/nonexistent'], 1, /there is no directory "\/nonexistent"/],
  [['policy', 'validate', ''], 1, /there is no directory ""/],
  [['policy', 'show', '--policy-dir', '/nonexistent'], 1, /there is no directory "\/nonexistent"/],
  [['policy', 'trust', 'x'], 2, /required option '--name <name>' not specified/],
  [['policy', 'trust', 'x', '--name', '../x'], 1, /the name of the rule is not 1 to 64 of/],
  [['policy', 'untrust', 'nobody-has-this', '--policy-dir', '/nonexistent'], 1, /there is no rule nobody-has-this/],
  [['log', '--lines', '0'], 2, /whole number, 1 to 9999999/],
  [['log', '/nonexistent'], 1, /the log \/nonexistent cannot be read \(ENOENT\)/],
  [['log', '/etc/passwd'], 1, /\/etc\/passwd is no log of the service/],
  [['mkfs', '--from-file', '/', '/nonexistent/x'], 1, /\/ is a directory, and no dump/],
  [['mkfs', '--min-version', '1', '--max-version', '0', '/', '/nonexistent/x'], 2, /higher than --max-version/],
  [['--json', 'oci', 'import'], 2, /"hint":"cfsctl oci import --help"\}\n$/],
  [['--json', 'frob'], 2, /^\{"code":"Usage","message":"unknown command 'frob'","hint":"cfsctl --help"\}\n$/],
];
for (const [args, status, stderr] of usage) {
  test(`exit ${status}: cfsctl ${args.join(' ').slice(0, 60)}`, async () => {
    const outcome = await cfsctl(...args);
    assert.match(outcome.stderr, stderr);
    assert.deepEqual([outcome.status, outcome.stdout], [status, '']);
  });
}

test('--version', async () => {
  assert.deepEqual(await cfsctl('--version'), { status: 0, stdout: '0.1.0\n', stderr: '' });
});

test('output that nobody reads, or that has no room, is no stack trace', () => {
  const shell = (line: string) => execFileSync('bash', ['-c', `{ ${line}; } 2>&1`], { encoding: 'utf8' });
  const quoted = `'${process.execPath}' '${CFSCTL}'`;
  assert.equal(shell(`${quoted} --help | true`), '');
  assert.match(shell(`${quoted} --version >/dev/full; echo " $?"`), /^cfsctl: the output cannot be written \(ENOSPC\)\n 1\n$/);
});

test('--help of every command is that of the golden file', async () => {
  const commands = buildProgram().commands.flatMap((command) => [
    [command.name()],
    ...command.commands.map((inner) => [command.name(), inner.name()]),
  ]);
  commands.unshift([]);
  const outcomes = await Promise.all(commands.map((command) => cfsctl(...command, '--help')));
  assert.ok(outcomes.every(({ status, stderr }) => status === 0 && stderr === ''));
  const help = outcomes.map(({ stdout }, i) => `$ ${['cfsctl', ...commands[i]!, '--help'].join(' ')}\n${stdout}`).join('\n');
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(GOLDEN, help);
  assert.equal(help, readFileSync(GOLDEN, 'utf8'));
});

test('completion for bash completes commands and options', async () => {
  const { stdout } = await cfsctl('completion', 'bash');
  const complete = (...words: string[]) => {
    const script = `${stdout}\nCOMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _cfsctl; echo "\${COMPREPLY[*]}"`;
    return execFileSync('bash', ['-c', script], { encoding: 'utf8' }).trim();
  };
  assert.equal(complete('cfsctl', 'mou'), 'mount mounts');
  assert.equal(complete('cfsctl', '--json', 'mount', '--up'), '--upperdir');
  assert.equal(complete('cfsctl', 'completion', 'f'), 'fish');
  assert.equal(complete('cfsctl', 'policy', 'tr'), 'trust');
  assert.equal(complete('cfsctl', 'policy', 'trust', '--gr'), '--group');
  assert.equal(complete('cfsctl', 'log', '--d'), '--denied');
  assert.equal(complete('cfsctl', 'policy', 'validate', '--us'), '');
  assert.equal(complete('cfsctl', 'oci', ''), 'import inspect config --help -h --version -V --address --json --timeout');
  assert.equal(complete('cfsctl', '--address', 'mount', 'stat'), 'status');
  assert.equal(complete('cfsctl', 'digest', '--algorithm', ''), 'sha256 sha512');
  assert.equal(complete('cfsctl', 'mount', '--digest', ''), '');
});

test('check: exit 0 when allowed, 1 when denied, the report on stdout in both', async () => {
  const report = (verdict: 'allow' | 'deny') => () => ({
    body: [
      encodeCheckReport({
        verdict,
        rule: '',
        because: 'why\u001B',
        hint: 'do',
        digest,
        type: 'erofs',
        nosuid: true,
        noexec: false,
        considered: ['a: no'],
      }),
    ],
  });
  fixture.service = report('allow');
  const allowed = await cfsctl('check', 'base');
  assert.deepEqual([allowed.status, allowed.stderr], [0, '']);
  assert.match(allowed.stdout, /^allowed\nreason +why\\u\{1b\}\n[^]*options +ro,nodev,nosuid\n/);
  fixture.service = report('deny');
  const denied = await cfsctl('check', 'base', '--json');
  assert.deepEqual([denied.status, denied.stderr, JSON.parse(denied.stdout).verdict], [1, '', 'deny']);
});

test('check prints what is in the image, and which objects are missing, if the service says', async () => {
  const facts = {
    entries: 12,
    devices: 1,
    setuid: 2,
    setgid: 3,
    fcaps: 4,
    'largest-uid': 5000,
    'largest-gid': 6000,
    'signed-by': [] as string[],
    'signature-problem': '',
  };
  const empty: string[] = [];
  const report = {
    verdict: 'allow' as const,
    rule: 'r',
    because: 'b',
    hint: '',
    digest,
    nosuid: false,
    noexec: false,
    considered: empty,
  };
  const serve = (more: object) => () => ({
    body: [encodeCheckReport({ ...report, ...facts, type: 'composefs', canonical: true, objects: 7, ...more })],
  });
  fixture.service = serve({ missing: 2 });
  const { stdout } = await cfsctl('check', 'base');
  assert.match(
    stdout,
    /entries +12\ndevices +1\nset-uid +2\nset-gid +3\nfile caps +4\nlargest uid +5000\nlargest gid +6000\nobjects +7, 2 missing\ncanonical +yes\n$/,
  );
  const json = JSON.parse((await cfsctl('--json', 'check', 'base')).stdout) as Record<string, unknown>;
  assert.deepEqual({ ...json, ...facts, canonical: true, objects: 7, missing: 2 }, json);
  fixture.service = serve({ missing: 0, canonical: false });
  assert.match((await cfsctl('check', 'base')).stdout, /objects +7, all there\ncanonical +no\n$/);
  fixture.service = serve({});
  assert.match((await cfsctl('check', 'base')).stdout, /objects +7\n/);
  fixture.service = serve({ type: 'erofs', canonical: false, objects: 0 });
  assert.match((await cfsctl('check', 'base')).stdout, /largest gid +6000\n$/);
});

test('check prints who signed the image, and why a signature counts for nothing', async () => {
  fixture.service = () => ({
    body: [
      encodeCheckReport({
        ...{ verdict: 'allow', rule: 'r', because: 'b', hint: '', digest, nosuid: false, noexec: false, considered: [] },
        ...{ entries: 1, devices: 0, setuid: 0, setgid: 0, fcaps: 0, 'largest-uid': 0, 'largest-gid': 0, canonical: true },
        ...{ type: 'erofs', objects: 0, 'signed-by': ['aa', 'bb'], 'signature-problem': 'why not' },
      }),
    ],
  });
  assert.match((await cfsctl('check', 'base')).stdout, /type +erofs\nsigned by +aa\n +bb\nsignature +why not\n/);
});

test('check of a path passes descriptors open for reading, not O_PATH', async () => {
  let flags: number[] = [];
  fixture.service = (_message, fds) => {
    flags = fds.map(statusFlags);
    throw new RequestError('NotTrusted', 'no', { hint: 'x' });
  };
  const { status, stderr } = await cfsctl('check', '/proc/self/status', '--objects', '/', '--objects', '/proc');
  assert.deepEqual([status, stderr], [1, 'cfsctl: no\n  hint: x\n']);
  assert.deepEqual(
    flags.map((flag) => flag & (O_ACCMODE | O_PATH)),
    [O_RDONLY, O_RDONLY, O_RDONLY],
  );
});

test('errors as JSON on stderr', async () => {
  fixture.service = () => {
    throw new RequestError('QuotaExceeded', 'too many', { hint: 'unmount one' });
  };
  const { status, stdout, stderr } = await cfsctl('--json', 'reload');
  assert.deepEqual(
    [status, stdout, JSON.parse(stderr)],
    [1, '', { code: 'QuotaExceeded', message: 'too many', hint: 'unmount one' }],
  );
});

test('images: a table, shortened unless wide, and JSON', async () => {
  fixture.service = () => ({
    body: [[encodeImageEntry({ name: 'os/base', digest, rule: 'r', repository: '/repo', type: 'erofs' })]],
  });
  assert.match((await cfsctl('images')).stdout, /^NAME .*\nos\/base  sha256:abababababab  erofs  r     \/repo\n$/);
  assert.match((await cfsctl('images', '--wide')).stdout, new RegExp(digest));
  assert.equal(JSON.parse((await cfsctl('images', '--json')).stdout)[0].digest, digest);
});

test('mounts: the name of the user, and the time', async () => {
  const entry = { id: 3n, uid: 0, digest, rule: 'r', since: 0n as never, userns: 4n, type: 'erofs', trusted: true } as const;
  fixture.service = () => ({ body: [[encodeMountEntry(entry)]] });
  assert.match((await cfsctl('mounts')).stdout, /\n3 +root +sha256:abababababab +r +\d{4}-\d\d-\d\d \d\d:\d\d:00 +erofs\n$/);
  fixture.service = () => ({ body: [[encodeMountEntry(entry), encodeMountEntry({ ...entry, id: 4n, trusted: false })]] });
  assert.match((await cfsctl('mounts')).stdout, / +TRUST\n3 .* +erofs\n4 .* +erofs +no longer trusted\n$/);
  const [shown] = JSON.parse((await cfsctl('mounts', '--json')).stdout);
  assert.deepEqual([shown.id, shown.since], ['3', '1970-01-01T00:00:00.000Z']);
});

function statusReply(features: readonly string[]) {
  const policy = [
    ['rules', variant('u', 1)],
    ['digests', variant('u', 2)],
    ['repositories', variant('u', 3)],
    ['loaded', variant('t', 0n)],
  ];
  const properties = [
    ['Version', variant('s', '9.9')],
    ['Features', variant('as', features)],
    ['Policy', variant('a{sv}', policy)],
  ];
  return { body: [properties] };
}

test('status: version, address, policy, what each feature is for, and what is lacking', async () => {
  fixture.service = () => statusReply(['statmount', 'something-new']);
  const { stdout } = await cfsctl('status');
  assert.match(stdout, /^version +9\.9\naddress +unix:path=.*\npolicy +rules 1, trusted digests 2, repositories 3\n/);
  assert.match(stdout, /\ntier +none: .*\nfeatures +statmount +mounts can .*\n +something-new\nlacking +erofs +EROFS images can/);
});

test('status: the tier is that of the best way to mount composefs images; older ways are not missed', async () => {
  const tell = async (features: readonly string[]): Promise<{ tier: string; lacking: string[] }> => {
    fixture.service = () => statusReply(features);
    const { stdout } = await cfsctl('--json', 'status');
    return JSON.parse(stdout) as { tier: string; lacking: string[] };
  };
  const newest = await tell(['erofs', 'overlay-detached-layers', 'overlay-verity']);
  assert.match(newest.tier, /by descriptor/);
  assert.deepEqual(newest.lacking, ['clone-detached', 'fs-verity', 'statmount', 'peer-pidfd']);
  const older = await tell(['erofs', 'overlay-layer-paths', 'clone-detached', 'statmount']);
  assert.match(older.tier, /by path/);
  assert.deepEqual(older.lacking, ['overlay-detached-layers', 'overlay-verity', 'fs-verity', 'peer-pidfd']);
  assert.match((await tell(['erofs'])).tier, /plain EROFS only/);
});
