// Longer than 300 lines: tables, an entry after the other.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseVerityDigest, type VerityDigest } from '../core/image/digest.js';
import { decide, findTrust, usefulAlgorithms } from './decide.js';
import { type Caller, type Condition, type Contents, DEFAULT_LIMITS, type Policy, type Rule } from './policy.js';

const digest = (digit: string): VerityDigest => parseVerityDigest(`sha256:${digit.repeat(64)}`);
const [A, B, C, NOWHERE] = [digest('a'), digest('b'), digest('c'), digest('f')];
/** The same digits as A under the other algorithm. */
const A512 = parseVerityDigest(`sha512:${'a'.repeat(128)}`);

type Conditions = Partial<Record<'devices' | 'setuid' | 'fcaps' | 'canonical', Condition>>;

function rule(
  name: string,
  digests: readonly VerityDigest[],
  more: { users?: number[]; groups?: number[]; nosuid?: boolean; noexec?: boolean } & Conditions = {},
): Rule {
  return {
    name,
    deny: false,
    digests: new Set(digests),
    list: null,
    repository: null,
    signature: null,
    notBefore: null,
    notAfter: null,
    maxEntries: null,
    maxSize: null,
    polkit: null,
    uids: more.users === undefined ? null : new Set(more.users),
    gids: more.groups === undefined ? null : new Set(more.groups),
    nosuid: more.nosuid ?? false,
    noexec: more.noexec ?? false,
    devices: more.devices ?? 'deny',
    setuid: more.setuid ?? 'allow',
    fcaps: more.fcaps ?? 'allow',
    canonical: more.canonical ?? 'allow',
    source: { file: 'p.toml', line: name.length },
  };
}

function policyOf(...rules: Rule[]): Policy {
  return { limits: DEFAULT_LIMITS, repositories: [], rules };
}

/** An image that no condition speaks against. */
const PLAIN: Contents = {
  entries: 10,
  devices: 0,
  setUid: 0,
  setGid: 0,
  fileCapabilities: 0,
  largestUid: 0,
  largestGid: 0,
  canonical: true,
  size: 8192,
};
const NOW = Date.parse('2026-11-23T12:00:00Z');
const decideFor = (policy: Policy, wanted: VerityDigest, caller: Caller, contents = PLAIN): ReturnType<typeof decide> =>
  decide(policy, { digest: wanted, contents }, caller, NOW);
const trustFor = (policy: Policy, wanted: VerityDigest, caller: Caller): ReturnType<typeof findTrust> =>
  findTrust(policy, { digest: wanted }, caller, NOW);

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
    const decision = decideFor(policyOf(...rules), wanted, { uid, gids });
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
  const denied = decideFor(policyOf(...rules), A, { uid: 1000, gids: [1000] });
  assert.ok(denied.verdict === 'deny');
  assert.equal(denied.because, `digest ${A} is not trusted for uid 1000`);
  assert.match(denied.hint, /\[\[rule\]\]\nname = ".+"\ndigests = \["sha256:a{64}"\]\nusers = \[1000\]/);
  for (const word of ['secret', 'board', '2000', '3000', '4000', B])
    assert.ok(!`${denied.because}${denied.hint}`.includes(word), word);
  // Trusted for somebody else, or for nobody: the caller cannot tell the two apart.
  const nowhere = decideFor(policyOf(), A, { uid: 1000, gids: [1000] });
  assert.ok(nowhere.verdict === 'deny');
  assert.deepEqual([nowhere.because, nowhere.hint], [denied.because, denied.hint]);
});

test('a refusal tells the audit log why each rule did not match, by name', () => {
  const rules = [rule('c', [B], { users: [2] }), rule('b', [B]), rule('a', [A], { users: [2] })];
  const denied = decideFor(policyOf(...rules), A, { uid: 1, gids: [] });
  assert.ok(denied.verdict === 'deny');
  assert.deepEqual(denied.considered, [
    { rule: 'a', because: 'does not apply to the caller' },
    { rule: 'b', because: 'does not list the digest' },
    { rule: 'c', because: 'does not list the digest and does not apply to the caller' },
  ]);
});

test('what could be trusted for a caller, by hash algorithm: rules of others and rules that deny count for nothing', () => {
  const policy = policyOf(
    rule('x', [C, A512], { users: [1] }),
    rule('y', [A], { groups: [5] }),
    rule('z', [A512], { users: [2] }),
    { ...rule('d', [A512]), deny: true },
  );
  const useful = (uid: number, ...gids: number[]) => usefulAlgorithms(policy, { uid, gids }, NOW, false);
  assert.deepEqual([useful(1), useful(2), useful(3, 5), useful(0, 0)], [['sha256', 'sha512'], ['sha512'], ['sha256'], []]);
});

test('what could be trusted: a rule for names counts where the image is looked up by name, and a rule out of force never', () => {
  const named: Rule = { ...rule('n', []), repository: { path: '/r', names: null } };
  const useful = (one: Rule, byName: boolean) => usefulAlgorithms(policyOf(one), { uid: 1, gids: [] }, NOW, byName);
  assert.deepEqual([useful(named, true), useful(named, false)], [['sha256', 'sha512'], []]);
  for (const out of [{ notBefore: NOW + 1 }, { notAfter: NOW - 1 }])
    assert.deepEqual(useful({ ...rule('x', [A]), ...out }, true), []);
  assert.deepEqual(useful({ ...rule('x', [A]), notBefore: NOW, notAfter: NOW }, true), ['sha256']);
});

const ids = fc.integer({ min: 0, max: 5 });
const maybeIds = fc.option(fc.array(ids, { maxLength: 3 }), { nil: undefined });
const anyCondition = fc.constantFrom<Condition>('allow', 'deny');
const anyRule = fc
  .record({
    digests: fc.subarray([A, B, C]),
    users: maybeIds,
    groups: maybeIds,
    nosuid: fc.boolean(),
    noexec: fc.boolean(),
    devices: anyCondition,
    setuid: anyCondition,
    fcaps: anyCondition,
    canonical: anyCondition,
  })
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
      assert.deepEqual(decideFor(policyOf(...other), wanted, caller), decideFor(policyOf(...rules), wanted, caller));
      assert.deepEqual(
        usefulAlgorithms(policyOf(...other), caller, NOW, true),
        usefulAlgorithms(policyOf(...rules), caller, NOW, true),
      );
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
      const before = decideFor(policyOf(...rules), wanted, caller);
      const { considered: _, ...after } = { considered: [], ...decideFor(policyOf(others, ...rules), wanted, caller) };
      const { considered: __, ...expected } = { considered: [], ...before };
      assert.deepEqual(after, expected);
    }),
  );
});

test('a further matching rule never takes a restriction away', () => {
  fc.assert(
    fc.property(anyRules, anyRule, anyCaller, anyDigest, (rules, extra, caller, wanted) => {
      const before = decideFor(policyOf(...rules), wanted, caller);
      const after = decideFor(policyOf(...rules, { ...extra, name: 'extra' }), wanted, caller);
      if (before.verdict === 'deny') return;
      assert.ok(after.verdict === 'allow');
      assert.ok(after.nosuid || !before.nosuid);
      assert.ok(after.noexec || !before.noexec);
    }),
  );
});

test('what findTrust trusts is exactly what decide allows of images that no condition speaks against, and its algorithm is a useful one', () => {
  fc.assert(
    fc.property(anyRules, anyCaller, anyDigest, (rules, caller, wanted) => {
      const policy = policyOf(...rules);
      const decision = decideFor(policy, wanted, caller);
      const trust = trustFor(policy, wanted, caller);
      assert.equal(trust.verdict === 'trusted', decision.verdict === 'allow');
      if (trust.verdict === 'trusted') assert.ok(usefulAlgorithms(policy, caller, NOW, false).includes('sha256'));
      if (decision.verdict === 'allow' && trust.verdict === 'trusted') assert.equal(trust.rule, decision.rule);
      if (trust.verdict === 'deny' && decision.verdict === 'deny')
        assert.deepEqual([trust.because, trust.hint, trust.considered], [decision.because, decision.hint, decision.considered]);
    }),
  );
});

const TROUBLE: Contents = { ...PLAIN, devices: 3, setUid: 1, setGid: 2, fileCapabilities: 1, canonical: false };
const any = { devices: 'allow' } as const;

const conditions: readonly (readonly [
  what: string,
  rules: Rule[],
  contents: Contents,
  expected: Exclude<Expected, 'deny'> | { because: string },
])[] = [
  [
    'device nodes, unless said',
    [rule('x', [A])],
    { ...PLAIN, devices: 1 },
    { because: 'the image has 1 device node, and rule "x" says devices = "deny"' },
  ],
  ['device nodes that the rule allows', [rule('x', [A], any)], { ...PLAIN, devices: 3 }, ['x', '']],
  [
    'set-uid files, unless said',
    [rule('x', [A])],
    { ...PLAIN, setUid: 4, setGid: 4, fileCapabilities: 4, canonical: false },
    ['x', ''],
  ],
  ['canonical form not looked at, and not asked for', [rule('x', [A])], { ...PLAIN, canonical: undefined }, ['x', '']],
  [
    'set-uid files',
    [rule('x', [A], { setuid: 'deny' })],
    { ...PLAIN, setUid: 2 },
    { because: 'the image has 2 set-uid files, and rule "x" says setuid = "deny"' },
  ],
  [
    'set-gid files alone',
    [rule('x', [A], { setuid: 'deny' })],
    { ...PLAIN, setGid: 1 },
    { because: 'the image has 1 set-gid file, and rule "x" says setuid = "deny"' },
  ],
  [
    'both',
    [rule('x', [A], { setuid: 'deny' })],
    { ...PLAIN, setUid: 1, setGid: 2 },
    { because: 'the image has 1 set-uid file and 2 set-gid files, and rule "x" says setuid = "deny"' },
  ],
  [
    'capabilities',
    [rule('x', [A], { fcaps: 'deny' })],
    { ...PLAIN, fileCapabilities: 2 },
    { because: 'the image has 2 files with capabilities, and rule "x" says fcaps = "deny"' },
  ],
  [
    'not canonical',
    [rule('x', [A], { canonical: 'deny' })],
    { ...PLAIN, canonical: false },
    { because: 'the image is not in canonical form, and rule "x" says canonical = "deny"' },
  ],
  ['canonical', [rule('x', [A], { canonical: 'deny' })], PLAIN, ['x', '']],
  [
    'canonical form asked for, and not looked at',
    [rule('x', [A], { canonical: 'deny' })],
    { ...PLAIN, canonical: undefined },
    { because: 'the image is not in canonical form, and rule "x" says canonical = "deny"' },
  ],
  [
    'largest ids and the number of entries are no conditions',
    [rule('x', [A])],
    { ...PLAIN, entries: 1e6, largestUid: 4294967295 },
    ['x', ''],
  ],
  [
    'everything at once',
    [rule('x', [A], { setuid: 'deny', fcaps: 'deny', canonical: 'deny' })],
    TROUBLE,
    {
      because:
        'the image has 3 device nodes and has 1 set-uid file and 2 set-gid files and has 1 file with capabilities and is not in canonical form, and rule "x" says devices = "deny" and setuid = "deny" and fcaps = "deny" and canonical = "deny"',
    },
  ],
  ['one rule that allows is enough', [rule('a', [A]), rule('b', [A], any)], { ...PLAIN, devices: 1 }, ['b', '']],
  [
    'the restrictions of a rule that does not allow hold',
    [rule('a', [A], { nosuid: true }), rule('b', [A], any)],
    { ...PLAIN, devices: 1 },
    ['b', 'nosuid'],
  ],
  [
    'of rules that do not allow, the first by name is named',
    [rule('z', [A]), rule('m', [A], { setuid: 'deny' })],
    { ...PLAIN, devices: 1 },
    { because: 'the image has 1 device node, and rule "m" says devices = "deny"' },
  ],
  [
    "another user's rule does not allow it",
    [rule('a', [A]), rule('b', [A], { ...any, users: [2000] })],
    { ...PLAIN, devices: 1 },
    { because: 'the image has 1 device node, and rule "a" says devices = "deny"' },
  ],
  [
    "another digest's rule does not allow it",
    [rule('a', [A]), rule('b', [B], any)],
    { ...PLAIN, devices: 1 },
    { because: 'the image has 1 device node, and rule "a" says devices = "deny"' },
  ],
];
for (const [what, rules, contents, expected] of conditions) {
  test(`contents ${'because' in expected ? 'denied' : 'allowed'}: ${what}`, () => {
    const decision = decideFor(policyOf(...rules), A, { uid: 1, gids: [] }, contents);
    if ('because' in expected) {
      assert.ok(decision.verdict === 'deny');
      assert.equal(decision.because, expected.because);
      assert.match(decision.hint, /ask the administrator/);
      return;
    }
    assert.ok(decision.verdict === 'allow');
    assert.deepEqual([decision.rule, decision.nosuid ? 'nosuid' : ''], expected);
  });
}

test('a refusal of contents tells the audit log which condition of which rule failed, and the caller nothing of the rules of others', () => {
  const rules = [rule('c', [A], { setuid: 'deny' }), rule('b', [A], { ...any, users: [7] }), rule('a', [B], any)];
  const denied = decideFor(policyOf(...rules), A, { uid: 1, gids: [] }, { ...PLAIN, devices: 1, setUid: 1 });
  assert.ok(denied.verdict === 'deny');
  assert.deepEqual(denied.considered, [
    { rule: 'a', because: 'does not list the digest' },
    { rule: 'b', because: 'does not apply to the caller' },
    {
      rule: 'c',
      because: 'the image has 1 device node and has 1 set-uid file, and the rule says devices = "deny" and setuid = "deny"',
    },
  ]);
  for (const word of ['"a"', '"b"']) assert.ok(!`${denied.because}${denied.hint}`.includes(word), word);
});

test('whether anybody asks for the canonical form is seen in the rules that match alone', () => {
  const asks = (rules: Rule[]): boolean | undefined => {
    const trust = trustFor(policyOf(...rules), A, { uid: 1, gids: [] });
    return trust.verdict === 'trusted' ? trust.asksCanonical : undefined;
  };
  const canonical = 'deny' as const;
  assert.equal(asks([rule('x', [A])]), false);
  assert.equal(asks([rule('x', [A]), rule('y', [A], { canonical })]), true);
  assert.equal(asks([rule('x', [A]), rule('y', [B], { canonical }), rule('z', [A], { canonical, users: [2] })]), false);
  assert.equal(asks([rule('y', [B], { canonical })]), undefined);
});

const anyContents = fc.record({
  entries: ids,
  devices: ids,
  setUid: ids,
  setGid: ids,
  fileCapabilities: ids,
  largestUid: ids,
  largestGid: ids,
  size: ids,
  canonical: fc.constantFrom(true, false, undefined),
});

test('a further rule never denies what was allowed, nor takes a restriction away, whatever is in the image', () => {
  fc.assert(
    fc.property(anyRules, anyRule, anyCaller, anyDigest, anyContents, (rules, extra, caller, wanted, contents) => {
      const before = decideFor(policyOf(...rules), wanted, caller, contents);
      const after = decideFor(policyOf(...rules, { ...extra, name: 'extra' }), wanted, caller, contents);
      if (before.verdict === 'deny') return;
      assert.ok(after.verdict === 'allow');
      assert.ok((after.nosuid || !before.nosuid) && (after.noexec || !before.noexec));
    }),
  );
});

test('what is allowed with trouble in the image is allowed without it', () => {
  fc.assert(
    fc.property(anyRules, anyCaller, anyDigest, anyContents, (rules, caller, wanted, contents) => {
      const before = decideFor(policyOf(...rules), wanted, caller, contents);
      if (before.verdict === 'allow') assert.equal(decideFor(policyOf(...rules), wanted, caller).verdict, 'allow');
    }),
  );
});

test('who is behind a caller counts for rules that deny, and for no other', () => {
  const everyone = rule('everyone', [A]);
  const theirs = rule('theirs', [B], { users: [1000], groups: [50] });
  const subordinate: Caller = { uid: 100_000, gids: [100_000], behind: { uid: 1000, gids: [50] } };
  const ask = (rules: Rule[], of: VerityDigest) =>
    findTrust({ limits: DEFAULT_LIMITS, repositories: [], rules }, { digest: of }, subordinate, 0).verdict;
  assert.equal(ask([everyone, theirs], A), 'trusted');
  assert.equal(ask([everyone, theirs], B), 'deny');
  for (const whom of [{ users: [1000] }, { groups: [50] }])
    assert.equal(ask([everyone, { ...rule('not them', [A], whom), deny: true }], A), 'deny');
});
