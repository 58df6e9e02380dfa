// The keys of rules beyond the first form: what they become, and what is refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadPolicy } from './load.js';
import type { Rule } from './policy.js';
import { PolicyError } from './problem.js';

const D = `sha256:${'ab'.repeat(32)}`;
const RULE = '[[rule]]\nname = "x"\n';
const GOOD = `${RULE}digests = ["${D}"]\n`;
const REPOSITORY = '[[repository]]\npath = "/srv/images"\nobjects = "trusted"\n';
const NAMED = `${REPOSITORY}${RULE}repository = "/srv/images"\n`;

function load(text: string) {
  const listNamed = (name: string) => {
    if (name === 'bad.list') return { path: '/p/bad.list', bytes: Buffer.from('hello') };
    return name === 'good.list' ? { path: '/p/good.list', bytes: Buffer.from(`${D}\n`) } : undefined;
  };
  return loadPolicy([{ path: 'p.toml', text }], { uidOf: () => 1, gidOf: () => 1, listNamed });
}

const taken: readonly (readonly [what: string, text: string, expected: Partial<Rule>])[] = [
  ['a rule that denies everything', `${RULE}deny = true`, { deny: true }],
  ['a rule that denies a digest to a user', `${GOOD}deny = true\nusers = [7]`, { deny: true, uids: new Set([7]) }],
  ['any name of a repository', NAMED, { repository: { path: '/srv/images', names: null } }],
  [
    'some names of a repository',
    `${NAMED}names = ["team/*", "base"]`,
    { repository: { path: '/srv/images', names: ['team/*', 'base'] } },
  ],
  ['not-before as a TOML date and time', `${GOOD}not-before = 2026-06-01T02:00:00+02:00`, { notBefore: Date.UTC(2026, 5, 1) }],
  ['not-before with a space', `${GOOD}not-before = 2026-06-01 00:00:00Z`, { notBefore: Date.UTC(2026, 5, 1) }],
  ['not-after as text', `${GOOD}not-after = "2026-06-01T00:00:00.5z"`, { notAfter: Date.UTC(2026, 5, 1) + 500 }],
  ['not-before as a day: from its start', `${GOOD}not-before = 2026-06-01`, { notBefore: Date.UTC(2026, 5, 1) }],
  ['not-after as a day: to its end', `${GOOD}not-after = 2026-06-01`, { notAfter: Date.UTC(2026, 5, 2) - 1 }],
  ['a leap day', `${GOOD}not-after = 2028-02-29`, { notAfter: Date.UTC(2028, 2, 1) - 1 }],
  [
    'one instant',
    `${GOOD}not-before = 2026-06-01T00:00:00Z\nnot-after = 2026-06-01T00:00:00Z`,
    { notAfter: Date.UTC(2026, 5, 1) },
  ],
  ['max-size in bytes', `${GOOD}max-size = 4096`, { maxSize: 4096 }],
  ['max-size in KiB', `${GOOD}max-size = "3 KiB"`, { maxSize: 3072 }],
  ['max-size in GiB', `${GOOD}max-size = "2 GiB"`, { maxSize: 2 ** 31 }],
  ['max-entries', `${GOOD}max-entries = 1`, { maxEntries: 1 }],
];
for (const [what, text, expected] of taken) {
  test(`rule taken: ${what}`, () => {
    const rule = load(text).rules[0]!;
    for (const [key, value] of Object.entries(expected)) assert.deepEqual(rule[key as keyof Rule], value, key);
  });
}

test('rule taken: a list of digests, which rules share', () => {
  const { rules } = load(`${RULE}digest-file = "good.list"\n[[rule]]\nname = "y"\ndigest-file = "good.list"`);
  assert.deepEqual([rules[0]?.list?.size, rules[0]?.list?.file], [1, '/p/good.list']);
  assert.equal(rules[0]?.list, rules[1]?.list);
});

test('signatures and polkit taken: by anybody trusted, by some, beside digests', () => {
  const [fingerprint, action] = ['0a'.repeat(32), 'org.composefs.mount1.mount-image'];
  const texts = [`${RULE}signature = true`, `${GOOD}signature = true\nsigners = ["${fingerprint}"]\npolkit = "${action}"`];
  const rules = texts.map((text) => load(text).rules[0]);
  assert.deepEqual(
    rules.map((rule) => [rule?.digests.size, rule?.signature?.signers, rule?.polkit]),
    [
      [0, null, null],
      [1, new Set([fingerprint]), action],
    ],
  );
});

test('limits taken, all of them', () => {
  const text = '[limits]\nmounts-per-user = 1\nmounts-per-minute = 10000\nmounts-total = 1000000';
  assert.deepEqual(load(text).limits, { mountsPerUser: 1, mountsPerMinute: 10_000, mountsTotal: 1_000_000 });
});

const DENY = `${RULE}deny = true\n`;
const refused: readonly (readonly [what: string, text: string, start: string, ...parts: string[]])[] = [
  ['signature = false', `${GOOD}signature = false`, 'p.toml:4: ', 'signature is not true'],
  ['an action that is none', `${GOOD}polkit = "Mount It"`, 'p.toml:4: ', 'not the id of an action'],
  ['signers alone', `${GOOD}signers = ["${'0'.repeat(64)}"]`, 'p.toml:4: ', 'signers goes with signature'],
  ['a fingerprint with colons', `${GOOD}signers = ["AB:CD"]`, 'p.toml:4: ', 'without colons'],
  ['names alone', `${GOOD}names = ["base"]`, 'p.toml:4: ', 'names goes with repository'],
  ['empty names', `${NAMED}names = []`, 'p.toml:7: ', 'names is empty'],
  ['a pattern with ..', `${NAMED}names = [\n"a/**/b"]`, 'p.toml:8: ', '** may only be the last part'],
  ['a repository nobody named', `${RULE}repository = "/srv/images"`, 'p.toml:3: ', 'objects = "trusted"'],
  ['a repository others may write', NAMED.replace('trusted', 'verity'), 'p.toml:6: ', 'root alone can write'],
  ['no image at all', `${RULE}users = [1]`, 'p.toml:1: ', 'digests is missing'],
  ['a list that is not there', `${RULE}digest-file = "other.list"`, 'p.toml:3: ', 'no file "other.list"'],
  ['a broken list', `${RULE}digest-file = "bad.list"`, '/p/bad.list:1: ', 'lacks its algorithm'],
  ['a list by path', `${RULE}digest-file = "../x.list"`, 'p.toml:3: ', 'not the name of a file'],
  ['a list of another ending', `${RULE}digest-file = "x.txt"`, 'p.toml:3: ', 'not the name of a file'],
  ['deny = false', `${GOOD}deny = false`, 'p.toml:4: ', 'deny is not true'],
  ['deny by name', `${REPOSITORY}${DENY}repository = "/srv/images"`, 'p.toml:7: ', 'take repository out'],
  ['deny by signature', `${DENY}signature = true`, 'p.toml:4: ', 'take signature out'],
  ['deny with a restriction', `${DENY}nosuid = true`, 'p.toml:4: ', 'take nosuid out'],
  ['deny with a condition', `${DENY}setuid = "deny"`, 'p.toml:4: ', 'take setuid out'],
  ['deny with a size', `${DENY}max-size = 5`, 'p.toml:4: ', 'take max-size out'],
  ['not-before as a word', `${GOOD}not-before = "tomorrow"`, 'p.toml:4: ', 'not a date with a time zone'],
  ['not-before without a zone', `${GOOD}not-before = 2026-06-01T00:00:00`, 'p.toml:4: ', 'no time zone', '2026-06-01T00:00:00Z'],
  ['not-before as a time', `${GOOD}not-before = 12:00:00`, 'p.toml:4: ', 'local-time'],
  ['not-after as a number', `${GOOD}not-after = 20260601`, 'p.toml:4: ', 'not a date'],
  ['February 30', `${GOOD}not-after = "2026-02-30"`, 'p.toml:4: ', 'not a date'],
  ['not-after before not-before', `${GOOD}not-before = 2026-06-02\nnot-after = 2026-06-01`, 'p.toml:5: ', 'never in force'],
  ['max-entries 0', `${GOOD}max-entries = 0`, 'p.toml:4: ', 'write 1 to'],
  ['max-size 0', `${GOOD}max-size = 0`, 'p.toml:4: ', 'max-size'],
  ['max-size of 0 MiB', `${GOOD}max-size = "0 MiB"`, 'p.toml:4: ', '"64 MiB"'],
  ['max-size in MB', `${GOOD}max-size = "64 MB"`, 'p.toml:4: ', '"64 MiB"'],
  ['mounts-per-minute 0', '[limits]\nmounts-per-minute = 0', 'p.toml:2: ', 'write 1 to 10000'],
  ['mounts-total as text', '[limits]\nmounts-total = "many"', 'p.toml:2: ', 'not a whole number'],
];
for (const [what, text, start, ...parts] of refused) {
  test(`rule refused: ${what}`, () => {
    assert.throws(
      () => load(text),
      (error: Error) => {
        assert.ok(error instanceof PolicyError, String(error));
        assert.equal(error.problems.length, 1, error.message);
        assert.ok(error.message.startsWith(start), error.message);
        for (const part of parts) assert.ok(error.message.includes(part), error.message);
        return true;
      },
    );
  });
}
