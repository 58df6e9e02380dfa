import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseVerityDigest, type VerityDigest } from '../core/image/digest.js';
import { allows, decide } from './decide.js';
import type { Policy, Rule } from './policy.js';

const digest = (digit: string): VerityDigest => parseVerityDigest(`sha256:${digit.repeat(64)}`);
const [A, B, C, NOWHERE] = [digest('a'), digest('b'), digest('c'), digest('f')];
/** The same digits as A under the other algorithm. */
const A512 = parseVerityDigest(`sha512:${'a'.repeat(128)}`);

function rule(
  name: string,
  digests: readonly VerityDigest[],
  more: { users?: number[]; groups?: number[]; nosuid?: boolean; noexec?: boolean } = {},
): Rule {
  return {
    name,
    digests: new Set(digests),
    uids: more.users === undefined ? null : new Set(more.users),
    gids: more.groups === undefined ? null : new Set(more.groups),
    nosuid: more.nosuid ?? false,
    noexec: more.noexec ?? false,
    source: { file: 'p.toml', line: name.length },
  };
}

function policyOf(...rules: Rule[]): Policy {
  return { limits: { mountsPerUser: 256 }, repositories: [], rules };
}

const everyone = rule('everyone', [A]);
const bySelf = rule('self', [A], { users: [1000] });
const byGroup = rule('team', [A], { groups: [50] });
const either = rule('either', [A], { users: [1000], groups: [50] });
const plain = rule('m plain', [A]);
const nosuid = rule('z nosuid', [A], { nosuid: true });
const noexec = rule('b noexec', [A], { noexec: true });
const strictOther = rule('a other user', [A], { users: [2000], nosuid: true, noexec: true });
const strictOtherDigest = rule('a other digest', [B], { nosuid: true, noexec: true });
const nobody = rule('nobody', [A], { users: [], groups: [] });

type Expected = 'deny' | readonly [rule: string, restrictions: '' | 'nosuid' | 'noexec' | 'nosuid,noexec'];

const cases: readonly (readonly [
  what: string,
  rules: Rule[],
  digest: VerityDigest,
  uid: number,
  gids: number[],
  expected: Expected,
])[] = [
  ['no rules', [], A, 1000, [1000], 'deny'],
  ['no rules, root', [], A, 0, [0], 'deny'],
  ['rule for everyone', [everyone], A, 1000, [1000], ['everyone', '']],
  ['rule for everyone, root', [everyone], A, 0, [0], ['everyone', '']],
  ['rule for everyone, nobody', [everyone], A, 65534, [], ['everyone', '']],
  ['rule for everyone, another digest', [everyone], NOWHERE, 1000, [1000], 'deny'],
  ['same digits, other algorithm', [everyone], A512, 1000, [1000], 'deny'],
  ['other algorithm listed', [rule('x', [A512])], A512, 1000, [1000], ['x', '']],
  ['own uid', [bySelf], A, 1000, [1000], ['self', '']],
  ['next uid', [bySelf], A, 1001, [1000], 'deny'],
  ['uid below', [bySelf], A, 999, [], 'deny'],
  ['root is not another user', [bySelf], A, 0, [0], 'deny'],
  ['a gid equal to a listed uid', [bySelf], A, 2000, [1000], 'deny'],
  ['own uid, another digest', [bySelf], B, 1000, [1000], 'deny'],
  ['primary group', [byGroup], A, 1000, [50], ['team', '']],
  ['supplementary group', [byGroup], A, 1000, [1000, 4, 50], ['team', '']],
  ['other groups', [byGroup], A, 1000, [1000, 4, 51], 'deny'],
  ['no groups at all', [byGroup], A, 1000, [], 'deny'],
  ['a uid equal to a listed gid', [byGroup], A, 50, [1000], 'deny'],
  ['root without the group', [byGroup], A, 0, [0], 'deny'],
  ['users or groups: by user', [either], A, 1000, [1], ['either', '']],
  ['users or groups: by group', [either], A, 7, [50], ['either', '']],
  ['users or groups: both', [either], A, 1000, [50], ['either', '']],
  ['users or groups: neither', [either], A, 7, [7], 'deny'],
  ['a rule for nobody', [nobody], A, 1000, [1000], 'deny'],
  ['a rule for nobody, root', [nobody], A, 0, [0], 'deny'],
  ['nosuid of the one rule', [nosuid], A, 1, [], ['z nosuid', 'nosuid']],
  ['noexec of the one rule', [noexec], A, 1, [], ['b noexec', 'noexec']],
  ['a looser rule loosens nothing', [plain, nosuid], A, 1, [], ['m plain', 'nosuid']],
  ['restrictions of two rules add up', [nosuid, noexec], A, 1, [], ['b noexec', 'nosuid,noexec']],
  ['restrictions of three rules add up', [nosuid, plain, noexec], A, 1, [], ['b noexec', 'nosuid,noexec']],
  ["another user's restrictions do not count", [plain, strictOther], A, 1, [], ['m plain', '']],
  ['and count for that user', [plain, strictOther], A, 2000, [], ['a other user', 'nosuid,noexec']],
  ["another digest's restrictions do not count", [plain, strictOtherDigest], A, 1, [], ['m plain', '']],
  ['named is the first rule by name, not by place', [plain, everyone], A, 1, [], ['everyone', '']],
  ['names are ordered by code unit, upper case first', [everyone, rule('Zeta', [A])], A, 1, [], ['Zeta', '']],
  ['second digest of a rule', [rule('x', [A, B])], B, 1, [], ['x', '']],
  ['largest uid', [rule('x', [A], { users: [4294967294] })], A, 4294967294, [], ['x', '']],
  ['uid that is the largest one cut to 32 bits signed', [rule('x', [A], { users: [4294967294] })], A, -2, [], 'deny'],
];

for (const [what, rules, wanted, uid, gids, expected] of cases) {
  test(`${expected === 'deny' ? 'denied' : 'allowed'}: ${what}`, () => {
    const decision = decide(policyOf(...rules), { digest: wanted }, { uid, gids });
    if (expected === 'deny') return assert.equal(decision.verdict, 'deny');
    assert.ok(decision.verdict === 'allow');
    const restrictions = [decision.nosuid ? 'nosuid' : '', decision.noexec ? 'noexec' : '']
      .filter((word) => word !== '')
      .join(',');
    assert.deepEqual([decision.rule, restrictions], expected);
    assert.deepEqual(decision.source, rules.find((one) => one.name === decision.rule)?.source);
  });
}

test('a refusal tells the caller its own digest, its own uid and the lines to ask for, and nothing of the rules of others', () => {
  const rules = [rule('secret project', [A], { users: [2000], groups: [3000] }), rule('board', [B], { users: [4000] })];
  const denied = decide(policyOf(...rules), { digest: A }, { uid: 1000, gids: [1000] });
  assert.ok(denied.verdict === 'deny');
  assert.equal(denied.because, `digest ${A} is not trusted for uid 1000`);
  assert.match(denied.hint, /\[\[rule\]\]\nname = ".+"\ndigests = \["sha256:a{64}"\]\nusers = \[1000\]/);
  for (const word of ['secret', 'board', '2000', '3000', '4000', B])
    assert.ok(!`${denied.because}${denied.hint}`.includes(word), word);
  // Trusted for somebody else, or for nobody: the caller cannot tell the two apart.
  const nowhere = decide(policyOf(), { digest: A }, { uid: 1000, gids: [1000] });
  assert.ok(nowhere.verdict === 'deny');
  assert.deepEqual([nowhere.because, nowhere.hint], [denied.because, denied.hint]);
});

test('a refusal tells the audit log why each rule did not match, by name', () => {
  const rules = [rule('c', [B], { users: [2] }), rule('b', [B]), rule('a', [A], { users: [2] })];
  const denied = decide(policyOf(...rules), { digest: A }, { uid: 1, gids: [] });
  assert.ok(denied.verdict === 'deny');
  assert.deepEqual(denied.considered, [
    { rule: 'a', because: 'does not apply to the caller' },
    { rule: 'b', because: 'does not list the digest' },
    { rule: 'c', because: 'neither lists the digest nor applies to the caller' },
  ]);
});

test('a caller sees the digests of its own rules, sorted, each once', () => {
  const policy = policyOf(rule('x', [C, A], { users: [1] }), rule('y', [A], { groups: [5] }), rule('z', [B], { users: [2] }));
  assert.deepEqual(allows(policy, { uid: 1, gids: [5] }), [A, C]);
  assert.deepEqual(allows(policy, { uid: 2, gids: [5] }), [A, B]);
  assert.deepEqual(allows(policy, { uid: 0, gids: [0] }), []);
});

const ids = fc.integer({ min: 0, max: 5 });
const maybeIds = fc.option(fc.array(ids, { maxLength: 3 }), { nil: undefined });
const anyRule = fc
  .record({ digests: fc.subarray([A, B, C]), users: maybeIds, groups: maybeIds, nosuid: fc.boolean(), noexec: fc.boolean() })
  .map(({ digests, users, groups, ...flags }) =>
    rule('', digests, { ...flags, ...(users && { users }), ...(groups && { groups }) }),
  );
const anyRules = fc
  .array(anyRule, { maxLength: 6 })
  .map((rules) => rules.map((one, index) => ({ ...one, name: `rule ${index}` })));
const anyCaller = fc.record({ uid: ids, gids: fc.array(ids, { maxLength: 3 }) });
const anyDigest = fc.constantFrom(A, B, C, NOWHERE);

test('the order of rules never changes a decision', () => {
  const shuffled = anyRules.chain((rules) =>
    fc.tuple(fc.constant(rules), fc.shuffledSubarray(rules, { minLength: rules.length })),
  );
  fc.assert(
    fc.property(shuffled, anyCaller, anyDigest, ([rules, other], caller, wanted) => {
      assert.deepEqual(
        decide(policyOf(...other), { digest: wanted }, caller),
        decide(policyOf(...rules), { digest: wanted }, caller),
      );
      assert.deepEqual(allows(policyOf(...other), caller), allows(policyOf(...rules), caller));
    }),
  );
});

test('a rule for other users never allows, and never changes what a caller may do', () => {
  fc.assert(
    fc.property(anyRules, anyCaller, anyDigest, (rules, caller, wanted) => {
      const others = rule('AA others', [A, B, C, NOWHERE], {
        users: [caller.uid + 10],
        groups: [100],
        nosuid: true,
        noexec: true,
      });
      const before = decide(policyOf(...rules), { digest: wanted }, caller);
      const { considered: _, ...after } = { considered: [], ...decide(policyOf(others, ...rules), { digest: wanted }, caller) };
      const { considered: __, ...expected } = { considered: [], ...before };
      assert.deepEqual(after, expected);
    }),
  );
});

test('a further matching rule never takes a restriction away', () => {
  fc.assert(
    fc.property(anyRules, anyRule, anyCaller, anyDigest, (rules, extra, caller, wanted) => {
      const before = decide(policyOf(...rules), { digest: wanted }, caller);
      const after = decide(policyOf(...rules, { ...extra, name: 'extra' }), { digest: wanted }, caller);
      if (before.verdict === 'deny') return;
      assert.ok(after.verdict === 'allow');
      assert.ok(after.nosuid || !before.nosuid);
      assert.ok(after.noexec || !before.noexec);
    }),
  );
});

test('what ListImages shows is exactly what decide allows', () => {
  fc.assert(
    fc.property(anyRules, anyCaller, anyDigest, (rules, caller, wanted) => {
      const policy = policyOf(...rules);
      assert.equal(allows(policy, caller).includes(wanted), decide(policy, { digest: wanted }, caller).verdict === 'allow');
    }),
  );
});
