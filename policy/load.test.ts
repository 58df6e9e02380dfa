import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseVerityDigest } from '../core/image/digest.js';
import { type Names } from './load-rule.js';
import { loadPolicy } from './load.js';
import { PolicyError } from './problem.js';

const HEX = 'ab'.repeat(32);
const D = `sha256:${HEX}`;
const IDS: Readonly<Record<string, number>> = { root: 0, alice: 1000, podman: 60 };
const names: Names = {
  uidOf: (name) => (Object.hasOwn(IDS, name) ? IDS[name] : undefined),
  gidOf: (name) => (name === 'podman' ? 60 : undefined),
};

function load(...texts: string[]): ReturnType<typeof loadPolicy> {
  return loadPolicy(
    texts.map((text, index) => ({ path: `${index + 1}.toml`, text })),
    names,
  );
}

const COMPLETE = `# all there is
[limits]
mounts-per-user = 12

[[repository]]
path = "/var/lib/cfsmountd/repo"
objects = "verity"

[[rule]]
name = "team images"
digests = [
  "${D}",
  "sha512:${HEX}${HEX}",
]
users = ["root", 1001]
groups = ["podman"]
nosuid = true
noexec = false
devices = "allow"
setuid = "deny"
fcaps = "deny"
canonical = "deny"

[[rule]]
name = "for all"
digests = ["${D}"]
`;

const UNSAID = {
  deny: false,
  list: null,
  repository: null,
  signature: null,
  notBefore: null,
  notAfter: null,
  maxEntries: null,
  maxSize: null,
  polkit: null,
};

test('policy taken: everything the form knows, names as ids, each part with its line', () => {
  const sha256 = parseVerityDigest(D);
  assert.deepEqual(load(COMPLETE), {
    limits: { mountsPerUser: 12, mountsPerMinute: null, mountsTotal: null },
    repositories: [{ path: '/var/lib/cfsmountd/repo', objects: 'verity', source: { file: '1.toml', line: 5 } }],
    rules: [
      {
        name: 'team images',
        digests: new Set([sha256, parseVerityDigest(`sha512:${HEX}${HEX}`)]),
        ...UNSAID,
        uids: new Set([0, 1001]),
        gids: new Set([60]),
        nosuid: true,
        noexec: false,
        devices: 'allow',
        setuid: 'deny',
        fcaps: 'deny',
        canonical: 'deny',
        source: { file: '1.toml', line: 9 },
      },
      {
        name: 'for all',
        digests: new Set([sha256]),
        ...UNSAID,
        uids: null,
        gids: null,
        nosuid: false,
        noexec: false,
        devices: 'deny',
        setuid: 'allow',
        fcaps: 'allow',
        canonical: 'allow',
        source: { file: '1.toml', line: 24 },
      },
    ],
  });
});

test('policy taken: no files, empty files and comments alone allow nothing and limit to 256 mounts', () => {
  const nothing = { limits: { mountsPerUser: 256, mountsPerMinute: null, mountsTotal: null }, repositories: [], rules: [] };
  assert.deepEqual(load(), nothing);
  assert.deepEqual(load('', '# nothing yet\n', '[limits]\n', 'rule = []'), nothing);
});

test('policy taken: inline tables, dotted keys and CRLF lines are TOML like any other', () => {
  const policy = load(`limits.mounts-per-user = 3\r\nrule = [\r\n  { name = "x", digests = ["${D}"] },\r\n]\r\n`);
  assert.equal(policy.limits.mountsPerUser, 3);
  assert.deepEqual(policy.rules[0]?.source, { file: '1.toml', line: 3 });
});

test('policy taken: limits at both ends of their ranges', () => {
  for (const count of [1, 1_000_000]) assert.equal(load(`[limits]\nmounts-per-user = ${count}`).limits.mountsPerUser, count);
  const rule = load(`[[rule]]\nname = "x"\ndigests = ["${D}"]\nusers = [0, 4294967294]\ngroups = [0, 4294967294]`).rules[0];
  assert.deepEqual([rule?.uids, rule?.gids], [new Set([0, 4294967294]), new Set([0, 4294967294])]);
});

test('policy taken: files add up in the order given', () => {
  const policy = load(`[[rule]]\nname = "b"\ndigests = ["${D}"]`, `[[rule]]\nname = "a"\ndigests = ["${D}"]`);
  assert.deepEqual(
    policy.rules.map((rule) => [rule.name, rule.source.file]),
    [
      ['b', '1.toml'],
      ['a', '2.toml'],
    ],
  );
});

const RULE = `[[rule]]\nname = "x"\n`;
const GOOD = `${RULE}digests = ["${D}"]\n`;
const REPOSITORY = (path: string): string => `[[repository]]\npath = "${path}"\nobjects = "verity"\n`;

function problemsOf(...texts: string[]): PolicyError {
  try {
    load(...texts);
  } catch (error) {
    if (error instanceof PolicyError) return error;
    throw error;
  }
  return assert.fail('the policy was taken');
}

test('policy refused: limits in two files, naming both places', () => {
  const { message } = problemsOf('[limits]\nmounts-per-user = 1', `${GOOD}\n[limits]\n`);
  assert.match(message, /^2\.toml:5: .*1\.toml:1/);
});

test('policy refused: one rule name or one repository in two files, naming both places', () => {
  const { message } = problemsOf(`${REPOSITORY('/a')}${GOOD}`, `${GOOD}${REPOSITORY('/a')}`);
  assert.deepEqual(
    message.split('\n').map((line) => [line.slice(0, 9), /already at (\S+);/.exec(line)?.[1]]),
    [
      ['2.toml:4:', '1.toml:1'],
      ['2.toml:1:', '1.toml:4'],
    ],
  );
});

test('policy refused: every problem of every file is told at once', () => {
  const { problems } = problemsOf('a = ', `${RULE}digests = ["", "md5:0"]\nusers = ["bob"]`, '[limits]\nmounts = 1\nnumber = 2');
  assert.deepEqual(
    problems.map(({ file, line }) => `${file}:${line}`),
    ['1.toml:1', '2.toml:3', '2.toml:3', '2.toml:4', '3.toml:2', '3.toml:3'],
  );
});

test('a good file does not save a broken one beside it', () => {
  assert.throws(() => load(COMPLETE, 'x'), PolicyError);
  assert.throws(() => load('x', COMPLETE), PolicyError);
});

test('policy refused: any file cut short is refused, or holds only whole rules of the file', () => {
  const whole = load(COMPLETE).rules.map((rule) => rule.name);
  for (let length = 0; length < COMPLETE.length; length += 1) {
    try {
      for (const [index, rule] of load(COMPLETE.slice(0, length)).rules.entries()) assert.equal(rule.name, whole[index]);
    } catch (error) {
      assert.ok(error instanceof PolicyError, String(error));
    }
  }
});

test('a hostile megabyte of brackets or dots is refused in time', () => {
  for (const text of [`a = ${'['.repeat(50_000)}`, `${'a.'.repeat(50_000)}a = 1`, `a = ${'{b='.repeat(1_000)}`])
    assert.throws(() => load(text), PolicyError);
});

test('any text gives a policy or a PolicyError of one line for each problem', () => {
  const words = fc.constantFrom(
    '[[rule]]',
    '[limits]',
    '[[repository]]',
    'name',
    'users',
    'digests',
    '=',
    '"',
    '[',
    ']',
    '{',
    '}',
    '\n',
    '.',
    ',',
    '1',
    '"x"',
    D,
    '#',
    '__proto__',
    'true',
    "'''",
    '\\u0000',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.array(words, { maxLength: 30 }).map((list) => list.join(' ')),
      ),
      (text) => {
        try {
          load(text);
        } catch (error) {
          assert.ok(error instanceof PolicyError, String(error));
          assert.equal(error.message.split('\n').length, error.problems.length);
        }
      },
    ),
    { numRuns: 1000 },
  );
});
