// decisions.json: rules, images, callers and times by name, and for each case what is decided and why. `A`, `B` and `A512` stand for digests.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { type VerityDigest, parseVerityDigest } from '../core/image/digest.js';
import { type Decision, considerRules, decide } from './decide.js';
import { readDigestList } from './digest-list.js';
import { type Caller, type Contents, DEFAULT_LIMITS, type JudgedImage, type Policy, type Rule } from './policy.js';

type Entry = Partial<Omit<Rule, 'digests' | 'list' | 'repository' | 'signature' | 'uids' | 'gids' | 'notBefore' | 'notAfter'>> & {
  digests?: string[];
  list?: string[];
  repository?: string;
  names?: string[];
  signature?: 'any' | string[];
  uids?: number[];
  gids?: number[];
  notBefore?: string;
  notAfter?: string;
};

interface ImageEntry {
  digest: string;
  found?: [repository: string, name: string];
  signedBy?: string[];
  signatureProblem?: string;
  contents?: Partial<Record<keyof Contents, never>>;
}

interface Table {
  rules: Record<string, Entry>;
  images: Record<string, ImageEntry>;
  callers: Record<string, [uid: number, gids: number[]]>;
  times: Record<string, string>;
  /** `verdict`: "deny"; "allow RULE [RESTRICTIONS]"; "ask RULE [RESTRICTIONS]". `told`: what a caller who is refused hears. `why`: what each rule says. */
  cases: { rules: string[]; image: string; caller: string; time: string; verdict: string; told?: string; why: string }[];
}

const table = JSON.parse(readFileSync(fileURLToPath(new URL('../../policy/decisions.json', import.meta.url)), 'utf8')) as Table;

const DIGESTS: Readonly<Record<string, VerityDigest>> = {
  A: parseVerityDigest(`sha256:${'a'.repeat(64)}`),
  B: parseVerityDigest(`sha256:${'b'.repeat(64)}`),
  A512: parseVerityDigest(`sha512:${'a'.repeat(128)}`),
};
const digestOf = (name: string): VerityDigest => DIGESTS[name]!;

function ruleOf(name: string): Rule {
  const { digests = [], list, repository, names, signature, uids, gids, notBefore, notAfter, ...rest } = table.rules[name]!;
  return {
    name,
    deny: false,
    nosuid: false,
    noexec: false,
    devices: 'deny',
    setuid: 'allow',
    fcaps: 'allow',
    canonical: 'allow',
    maxEntries: null,
    maxSize: null,
    polkit: null,
    source: { file: 'p.toml', line: 1 },
    ...rest,
    digests: new Set(digests.map(digestOf)),
    list: list ? readDigestList('p.list', Buffer.from(list.map((one) => `${digestOf(one)}\n`).join(''))) : null,
    repository: repository === undefined ? null : { path: repository, names: names ?? null },
    signature: signature === undefined ? null : { signers: signature === 'any' ? null : new Set(signature) },
    uids: uids ? new Set(uids) : null,
    gids: gids ? new Set(gids) : null,
    notBefore: notBefore === undefined ? null : Date.parse(notBefore),
    notAfter: notAfter === undefined ? null : Date.parse(notAfter),
  };
}

function imageOf(name: string): JudgedImage {
  const { digest, found, contents, ...signature } = table.images[name]!;
  const plain = { entries: 10, devices: 0, setUid: 0, setGid: 0, fileCapabilities: 0, largestUid: 0, largestGid: 0 };
  return {
    digest: digestOf(digest),
    found: found && { repository: found[0], name: found[1] },
    ...signature,
    // null in JSON: nobody looked.
    contents: {
      ...plain,
      canonical: true,
      size: 8192,
      ...contents,
      ...(contents?.canonical === null ? { canonical: undefined } : {}),
    },
  };
}

const callerOf = (name: string): Caller => ({ uid: table.callers[name]![0], gids: table.callers[name]![1] });
const policyOf = (names: readonly string[]): Policy => ({ limits: DEFAULT_LIMITS, repositories: [], rules: names.map(ruleOf) });

function shown(decision: Decision): string {
  if (decision.verdict === 'deny') return 'deny';
  const restrictions = [...(decision.nosuid ? ['nosuid'] : []), ...(decision.noexec ? ['noexec'] : [])].join(',');
  return `${decision.verdict} ${decision.rule} ${restrictions}`.trimEnd();
}

/** Digests by their names, so that a line can be read. */
const short = (text: string): string =>
  text.replaceAll(DIGESTS['A512']!, 'A512').replaceAll(DIGESTS['A']!, 'A').replaceAll(DIGESTS['B']!, 'B');

for (const { rules, image, caller, time, verdict, told, why } of table.cases) {
  test(`${verdict}: ${image} for ${caller} in ${time} by ${rules.join(', ') || 'no rule'}`, () => {
    const question = [policyOf(rules), imageOf(image), callerOf(caller), Date.parse(table.times[time]!)] as const;
    const decision = decide(...question);
    assert.equal(shown(decision), verdict);
    const considered = considerRules(...question).map(({ rule, because }) => `${rule}: ${because}`);
    assert.equal(short(considered.join('; ')), why);
    assert.equal(decision.verdict === 'deny' ? short(decision.because) : undefined, told);
    if (decision.verdict !== 'deny') return;
    assert.deepEqual(
      decision.considered.map(({ rule, because }) => `${rule}: ${because}`),
      considered,
    );
    assert.match(decision.hint, /administrator/);
  });
}

test('the table has at least 120 cases, each once, and every rule, image, caller and time is in one', () => {
  const { cases } = table;
  assert.ok(cases.length >= 120, String(cases.length));
  assert.equal(
    new Set(cases.map(({ rules, image, caller, time }) => JSON.stringify([rules, image, caller, time]))).size,
    cases.length,
  );
  const used = (key: 'image' | 'caller' | 'time') => [...new Set(cases.map((one) => one[key]))].sort();
  assert.deepEqual([...new Set(cases.flatMap(({ rules }) => rules))].sort(), Object.keys(table.rules).sort());
  assert.deepEqual(used('image'), Object.keys(table.images).sort());
  assert.deepEqual(used('caller'), Object.keys(table.callers).sort());
  assert.deepEqual(used('time'), Object.keys(table.times).sort());
});

const keys = <T extends object>(from: T) => fc.constantFrom(...Object.keys(from));
const anyRules = fc.subarray(Object.keys(table.rules), { maxLength: 8 });
const anyQuestion = fc
  .tuple(keys(table.images), keys(table.callers), keys(table.times))
  .map(([image, caller, time]) => [imageOf(image), callerOf(caller), Date.parse(table.times[time]!)] as const);

test('a further deny rule never turns a deny into anything else, whatever the rules, images, callers and times', () => {
  const denying = fc.constantFrom(...Object.keys(table.rules).filter((name) => table.rules[name]!.deny));
  fc.assert(
    fc.property(anyRules, denying, anyQuestion, (rules, extra, question) => {
      const before = decide(policyOf(rules), ...question);
      const after = decide(policyOf([...new Set([...rules, extra])]), ...question);
      if (before.verdict === 'deny') assert.equal(after.verdict, 'deny');
      else if (after.verdict !== 'deny') assert.deepEqual(after, before);
    }),
    { numRuns: 2000 },
  );
});

test('the order of rules changes nothing: not the verdict, the rule, the restrictions, the reason', () => {
  const shuffled = anyRules.chain((rules) =>
    fc.tuple(fc.constant(rules), fc.shuffledSubarray(rules, { minLength: rules.length })),
  );
  fc.assert(
    fc.property(shuffled, anyQuestion, ([rules, other], question) => {
      assert.deepEqual(decide(policyOf(other), ...question), decide(policyOf(rules), ...question));
    }),
    { numRuns: 1000 },
  );
});

test('a rule that asks polkit never takes away what another allows outright', () => {
  const asking = fc.constantFrom('polkit', 'polkit nosuid', 'polkit for all signed', 'polkit strict');
  fc.assert(
    fc.property(anyRules, asking, anyQuestion, (rules, extra, question) => {
      const before = decide(policyOf(rules), ...question);
      if (before.verdict === 'allow')
        assert.equal(decide(policyOf([...new Set([...rules, extra])]), ...question).verdict, 'allow');
    }),
    { numRuns: 1000 },
  );
});
