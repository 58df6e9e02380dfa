// cfsctl policy and cfsctl log, as root and as others, with a service and without.
import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';

import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, digestOfFile, makeErofs } from '../support/images.js';
import { DIST } from '../support/machine.js';
import { type Outcome, runAs } from '../support/run-as.js';
import { makeScratch } from '../support/scratch.js';

const CFSCTL = join(DIST, 'cfsctl');
const UID = 4765;
const scratch = makeScratch();
const repository = join(scratch.path, 'repository');
const image = join(scratch.path, 'image.erofs');
const digest = makeErofs(image, { 'hello.txt': 'hello\n' });
addToRepository(repository, image, 'team/base');
const BASE = `[[repository]]\npath = "${repository}"\nobjects = "trusted"\n`;
let daemon: Daemon;
let directory: string;

before(async () => {
  daemon = await startDaemon({ policy: BASE });
  directory = join(daemon.directory, 'policy.d');
});
after(async () => {
  await daemon?.stop();
  scratch.remove();
});
beforeEach(() => {
  for (const name of readdirSync(directory)) rmSync(join(directory, name));
  daemon.writePolicy(BASE);
  cfsctl('reload');
});

const cfsctlAs = (uid: number, ...words: string[]): Outcome => runAs(uid, [CFSCTL, '--address', daemon.address, ...words]);
const cfsctl = (...words: string[]): Outcome => cfsctlAs(0, ...words);

function outputOf(outcome: Outcome): string {
  assert.deepEqual([outcome.status, outcome.stderr], [0, '']);
  return outcome.stdout;
}
const here = (...words: string[]): string[] => ['policy', ...words, '--policy-dir', directory];
const jsonOf = <T = unknown>(...words: string[]): T => JSON.parse(cfsctl('--json', ...words).stdout) as T;

test('trust writes one file that root alone can change, the service has it at once, and untrust takes both away', () => {
  const file = join(directory, 'trusted-base.toml');
  const said = outputOf(
    cfsctl(...here('trust', image, '--name', 'base', '--user', String(UID), '--user', 'root', '--group', '50')),
  );
  assert.equal(said, `digest  ${digest}\nfor     user ${UID}\n        user root\n        group 50\nfile    ${file}\n`);
  assert.match(
    readFileSync(file, 'utf8'),
    new RegExp(
      `^# .*\n\\[\\[rule\\]\\]\nname = "base"\ndigests = \\["${digest}"\\]\nusers = \\[${UID}, "root"\\]\ngroups = \\[50\\]\n$`,
    ),
  );
  assert.deepEqual([statSync(file).mode & 0o777, statSync(file).uid], [0o644, 0]);
  assert.deepEqual(readdirSync(directory).sort(), ['test.toml', 'trusted-base.toml']);
  assert.equal(cfsctlAs(UID, 'check', digest).status, 0);
  assert.equal(cfsctlAs(UID + 1, 'check', digest).status, 1);
  assert.equal(outputOf(cfsctl(...here('untrust', 'base'))), '');
  assert.ok(!existsSync(file));
  assert.equal(cfsctlAs(UID, 'check', digest).status, 1);
});

test('trust by digest, by name, for everyone; --json', () => {
  assert.match(outputOf(cfsctl(...here('trust', digest, '--name', 'a'))), /for +everyone/);
  const byName = jsonOf(...here('trust', 'team/base', '--name', 'b'));
  assert.deepEqual(byName, { file: join(directory, 'trusted-b.toml'), name: 'b', digest, reloaded: true });
  assert.equal(cfsctlAs(UID, 'check', '--name', 'team/base').status, 0);
  assert.deepEqual(jsonOf(...here('untrust', 'b')), { file: join(directory, 'trusted-b.toml'), name: 'b', reloaded: true });
});

const refused: readonly (readonly [what: string, words: () => string[], status: number, says: RegExp])[] = [
  ['a name that is taken', () => ['trust', digest, '--name', 'base'], 1, /is there already\n +hint: cfsctl policy untrust base/],
  [
    'the name of a rule elsewhere',
    () => ['trust', digest, '--name', 'elsewhere'],
    1,
    /a rule of this name stands already at .*test\.toml:4/,
  ],
  [
    'an unknown user',
    () => ['trust', digest, '--name', 'x', '--user', 'no-such-user'],
    1,
    /this system has no user "no-such-user"/,
  ],
  ['a digest that is none', () => ['trust', 'sha256:12', '--name', 'x'], 1, /64 hex digits/],
  ['an image that is none', () => ['trust', '/etc/passwd', '--name', 'x'], 1, /passwd/],
  ['a path for a name', () => ['trust', digest, '--name', 'a/b'], 1, /name of the rule/],
  ['untrust what is not there', () => ['untrust', 'nothing'], 1, /there is no rule nothing/],
  ['untrust what somebody else wrote', () => ['untrust', 'own'], 1, /was not written by cfsctl policy trust/],
];
for (const [what, words, status, says] of refused) {
  test(`trust and untrust write nothing: ${what}`, () => {
    daemon.writePolicy(`${BASE}[[rule]]\nname = "elsewhere"\ndigests = ["${digest}"]\n`);
    writeFileSync(join(directory, 'trusted-own.toml'), '# my own\n');
    outputOf(cfsctl(...here('trust', digest, '--name', 'base')));
    const before = readdirSync(directory);
    const outcome = cfsctl(...here(...words()));
    assert.deepEqual([outcome.status, outcome.stdout], [status, '']);
    assert.match(outcome.stderr, says);
    assert.deepEqual(readdirSync(directory), before);
  });
}

test('trust and untrust are for who may write there', () => {
  outputOf(cfsctl(...here('trust', digest, '--name', 'base')));
  for (const words of [here('trust', digest, '--name', 'x'), here('untrust', 'base')]) {
    const { status, stderr } = cfsctlAs(UID, ...words);
    assert.deepEqual([status, /cannot be (written|removed) \(EACCES\)\n +hint: run it as root/.test(stderr)], [1, true], stderr);
  }
});

test('without a service the file is written, and it says so', () => {
  const { status, stdout } = runAs(0, [
    CFSCTL,
    '--address',
    'unix:path=/nonexistent',
    ...here('trust', digest, '--name', 'later'),
  ]);
  assert.deepEqual([status, /No service runs/.test(stdout), existsSync(join(directory, 'trusted-later.toml'))], [0, true, true]);
});

test('validate: nothing wrong, everything wrong at once, and what only the service would run into', () => {
  assert.equal(outputOf(cfsctl('policy', 'validate', directory)), '0 rules: all is well\n');
  daemon.writePolicy(`${BASE}[[repository]]\npath = "/no/such"\nobjects = "verity"\n`);
  assert.match(cfsctl('policy', 'validate', directory).stdout, /^.*test\.toml:4: repository \/no\/such is not there.*\n$/);
  writeFileSync(join(directory, 'bad.toml'), '[[rule]]\nname = 7\nusre = []\n');
  daemon.writePolicy('x');
  const { status, stdout, stderr } = cfsctl('policy', 'validate', directory);
  assert.deepEqual([status, stderr], [1, '']);
  assert.deepEqual(
    stdout.split('\n').map((line) => /[^/]*\.toml:\d+/.exec(line)?.[0]),
    ['bad.toml:2', 'bad.toml:3', 'test.toml:1', undefined],
  );
  const { ok, rules, problems } = jsonOf('policy', 'validate', directory) as {
    ok: boolean;
    rules: number;
    problems: { line: number }[];
  };
  assert.deepEqual([ok, rules, problems.map(({ line }) => line)], [false, 0, [2, 3, 1]]);
  const loose = join(scratch.path, 'loose');
  mkdirSync(loose);
  chmodSync(loose, 0o777);
  assert.match(cfsctl('policy', 'validate', image).stdout, /image\.erofs:1: is a file; make it a directory\n$/);
  assert.match(cfsctl('policy', 'validate', loose).stdout, /loose:1: .* writable by others.*chmod go-w/);
});

const RULES = `[[rule]]
name = "for alice"
digests = ["${digest}"]
users = [${UID}]
nosuid = true
[[rule]]
name = "by name"
repository = "${repository}"
names = ["team/*"]
max-entries = 1
[[rule]]
name = "not today"
digest-file = "some.list"
not-after = 2020-01-01
[[rule]]
name = "never root"
deny = true
users = [0]
`;

test('test: every rule with what it says, for a file, a digest and a name; the exit status is the verdict', () => {
  daemon.writePolicy(BASE + RULES);
  writeFileSync(join(directory, 'some.list'), `${digest}\n`);
  const ask = (user: number, what: string) => cfsctl(...here('test', '--user', String(user), what));
  const byFile = ask(UID, image);
  assert.equal(byFile.status, 0);
  assert.match(byFile.stdout, /^allowed\nrule +for alice\ndigest +sha256:.*\noptions +ro,nodev,nosuid\n\nRULE +SAYS +PLACE\n/);
  const says = (outcome: Outcome) =>
    outcome.stdout
      .split('\n')
      .slice(-5, -1)
      .map((line) => line.split(/ {2,}/).slice(0, 2).join(': '));
  const late = 'not today: is not valid after 2020-01-01T23:59:59.999Z';
  assert.deepEqual(says(byFile), [
    `by name: is for images found by name in ${repository}`,
    'for alice: allows the image',
    'never root: does not apply to the caller',
    late,
  ]);
  const byName = ask(UID + 1, 'team/base');
  assert.deepEqual([byName.status, says(byName)[0]], [1, 'by name: the image has 2 names, and the rule says max-entries = 1']);
  assert.match(byName.stdout, /^denied\nreason +the image has 2 names, and rule "by name" says max-entries = 1\n/);
  const byDigest = ask(UID, digest);
  assert.deepEqual([byDigest.status, says(byDigest)[1]], [0, 'for alice: trusts the digest']);
  assert.match(byDigest.stdout, /^trusted, if what is in it is fit\n/);
  const root = ask(0, image);
  assert.deepEqual([root.status, says(root)[2]], [1, 'never root: denies the image']);
  assert.match(root.stdout, /^denied\nreason +rule "never root" denies the image\n/);
  const json = jsonOf(...here('test', '--user', String(UID), image)) as unknown as {
    verdict: string;
    caller: object;
    rules: { place: string }[];
    contents: { entries: number };
  };
  assert.deepEqual(
    [json.verdict, json.caller, json.contents.entries, json.rules.length],
    ['allow', { uid: UID, gids: [] }, 2, 4],
  );
  assert.equal(json.rules[1]?.place, `${join(directory, 'test.toml')}:4`);
});

test('test: what it says is what the service says', () => {
  daemon.writePolicy(BASE + RULES);
  writeFileSync(join(directory, 'some.list'), '');
  outputOf(cfsctl('reload'));
  for (const user of [UID, UID + 1, 0]) {
    for (const what of [image, digest, 'team/base']) {
      const asked = cfsctl('--json', ...here('test', '--user', String(user), what));
      const check = what === 'team/base' ? ['check', '--name', what] : ['check', what];
      const checked = cfsctlAs(user, '--json', ...check);
      assert.equal(asked.status, checked.status, `${user} ${what}: ${asked.stdout} ${checked.stdout}${checked.stderr}`);
    }
  }
});

test('show: each rule with its place, in words and as JSON', () => {
  daemon.writePolicy(BASE + RULES);
  writeFileSync(join(directory, 'some.list'), `${digest}\n${digestOfFile(image, 'sha512')}\n`);
  const text = outputOf(cfsctl(...here('show')));
  for (const part of [
    'rules       4',
    'some.list, 2 digests',
    'names       team/*',
    'not after   2020-01-01T23:59:59.999Z',
    `user (${UID})`,
    'user root (0)',
    'verdict  deny',
    'max-entries 1',
  ])
    assert.ok(text.replaceAll(/ +/g, ' ').includes(part.replaceAll(/ +/g, ' ')), `${part}\n${text}`);
  const shown = jsonOf(...here('show')) as { rules: { name: string; source: { line: number }; list: unknown }[] };
  assert.deepEqual(
    shown.rules.map(({ name, source }) => `${name}:${source.line}`),
    ['for alice:4', 'by name:9', 'not today:14', 'never root:18'],
  );
  assert.deepEqual(shown.rules[2]?.list, { file: join(directory, 'some.list'), digests: 2 });
});

test('log: the last decisions of a file, with and without what was allowed', async () => {
  const log = join(scratch.path, 'log');
  outputOf(cfsctl(...here('trust', digest, '--name', 'base', '--user', String(UID))));
  cfsctlAs(UID, 'check', digest);
  cfsctlAs(UID + 1, 'check', digest);
  await daemon.eventually('it is in the log', () => daemon.audits().at(-1)?.['uid'] === UID + 1);
  writeFileSync(log, `no JSON\n{"audit":1}\nnull\n<6>${daemon.stderr().trimEnd().split('\n').join('\n<6>')}\n`);
  const all = outputOf(cfsctl('log', log)).split('\n');
  assert.match(all[0]!, /^TIME +USER +METHOD +VERDICT +IMAGE +RULE +REASON$/);
  assert.match(all.at(-3)!, new RegExp(` ${UID} +CheckImage +allow +sha256:[0-9a-f]{12} +base$`));
  assert.match(all.at(-2)!, new RegExp(` ${UID + 1} +CheckImage +deny +sha256:[0-9a-f]{12} +.*is not trusted for uid`));
  const denied = JSON.parse(outputOf(cfsctl('--json', 'log', '--denied', '-n', '1', log))) as { verdict: string; uid: number }[];
  assert.deepEqual(
    denied.map(({ verdict, uid }) => [verdict, uid]),
    [['deny', UID + 1]],
  );
});

test('who may not read the files is told so, and a link is not followed', () => {
  const closed = join(scratch.path, 'closed');
  mkdirSync(closed, { mode: 0o700 });
  const { status, stderr } = cfsctlAs(UID, 'policy', 'show', '--policy-dir', closed);
  assert.deepEqual([status, stderr], [1, 'cfsctl: the policy cannot be read (EACCES)\n  hint: run it as root\n']);
  const linked = join(scratch.path, 'linked');
  symlinkSync(directory, linked);
  assert.match(cfsctl('policy', 'show', '--policy-dir', linked).stderr, /linked:1: .* is a symbolic link/);
});
