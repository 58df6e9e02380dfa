import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseVerityDigest } from '../image/digest.js';
import { decodeMessage, encodeMethodReturn } from './codec.js';
import { REPLY_LIMITS, checkMessage } from './guard.js';
import { ProtocolError } from './protocol-error.js';
import {
  decodeCheckReport,
  decodeImageEntries,
  decodeMountEntries,
  decodeMountResult,
  decodePolicySummary,
  encodeCheckReport,
  encodeImageEntry,
  encodeMountEntry,
  encodeMountResult,
  encodePolicySummary,
} from './results.js';
import type { CheckReport, MountResult } from './results.js';
import { variant } from './variants.js';
import type { Dict } from './variants.js';

const digest = parseVerityDigest(`sha512:${'0f'.repeat(64)}`);
const result: MountResult = { id: (1n << 64n) - 1n, digest, rule: 'team', verified: 'kernel', type: 'composefs', locked: true };

/** Over the wire and back. */
function carry(signature: string, value: unknown): unknown {
  const message = encodeMethodReturn({ serial: 1, replySerial: 1, signature, body: [value] });
  return decodeMessage(message, checkMessage(message, REPLY_LIMITS, 0)).body[0];
}

const SIGNED = { 'signed-by': ['ab'.repeat(32)], 'signature-problem': 'expired' };

test('each result comes back over the wire as it was', () => {
  const report: CheckReport = {
    verdict: 'deny',
    rule: '',
    because: 'no rule',
    hint: 'add one',
    digest,
    type: 'erofs',
    nosuid: true,
    noexec: false,
    considered: ['a: no', 'b: no'],
  };
  const image = { name: 'os/base', digest, rule: 'team', repository: '/repo', type: 'composefs' } as const;
  const mount = {
    id: 1n,
    uid: 4_294_967_294,
    digest,
    rule: 'team',
    since: 1_770_000_000_000,
    userns: 4_026_531_837n,
    type: 'erofs',
    trusted: false,
  } as const;
  const policy = { rules: 3, digests: 4, repositories: 1, loaded: 1_770_000_000_000 };
  assert.deepEqual(decodeMountResult(carry('a{sv}', encodeMountResult(result))), result);
  assert.deepEqual(decodeCheckReport(carry('a{sv}', encodeCheckReport(report))), report);
  const facts = {
    entries: 9,
    devices: 1,
    setuid: 2,
    setgid: 3,
    fcaps: 4,
    'largest-uid': 4_294_967_295,
    'largest-gid': 5,
    ...SIGNED,
  };
  const checked: CheckReport[] = [
    { ...report, ...facts, canonical: true, objects: 7 },
    { ...report, ...facts, canonical: false, objects: 7, missing: 0 },
  ];
  for (const one of checked) assert.deepEqual(decodeCheckReport(carry('a{sv}', encodeCheckReport(one))), one);
  assert.deepEqual(decodeImageEntries(carry('aa{sv}', [encodeImageEntry(image), encodeImageEntry(image)])), [image, image]);
  assert.deepEqual(decodeMountEntries(carry('aa{sv}', [encodeMountEntry(mount)])), [mount]);
  assert.deepEqual(decodePolicySummary(carry('a{sv}', encodePolicySummary(policy))), policy);
});

const good = encodeMountResult(result);
const replace = (key: string, signature: string, value: unknown): Dict =>
  good.map((pair) => (pair[0] === key ? [key, variant(signature, value)] : pair));
const bad: [string, unknown][] = [
  ['a key missing', good.slice(1)],
  ['a key more', [...good, ['extra', variant('b', true)]]],
  ['a key twice', [...good, ...good.slice(0, 1)]],
  ['another type', replace('id', 'u', 5)],
  ['another word', replace('verified', 's', 'perhaps')],
  ['a short digest', replace('digest', 's', 'sha256:00')],
  ['no dict', 'text'],
];
for (const [name, dict] of bad) {
  test(`client refuses a result: ${name}`, () => assert.throws(() => decodeMountResult(dict), ProtocolError));
}

test('client refuses a list that is none', () => assert.throws(() => decodeImageEntries({}), ProtocolError));

const checked = encodeCheckReport({
  verdict: 'allow',
  rule: 'r',
  because: 'b',
  hint: '',
  digest,
  type: 'composefs',
  nosuid: false,
  noexec: false,
  considered: [],
  entries: 9,
  devices: 0,
  setuid: 0,
  setgid: 0,
  fcaps: 0,
  'largest-uid': 0,
  'largest-gid': 0,
  canonical: true,
  ...SIGNED,
  objects: 7,
  missing: 1,
});
const badReports: [string, unknown][] = [
  ...['entries', 'devices', 'setuid', 'largest-uid', 'canonical', 'signed-by', 'signature-problem', 'objects', 'verdict'].map(
    (key): [string, unknown] => [`without ${key}`, checked.filter(([name]) => name !== key)],
  ),
  ['missing objects of no facts', [...encodeReportAlone(), ['missing', variant('u', 1)]]],
  ['a fact more', [...checked, ['largest-pid', variant('u', 1)]]],
  ['canonical as a number', checked.map(([key, value]) => (key === 'canonical' ? [key, variant('u', 1)] : [key, value]))],
  ['entries of 64 bits', checked.map(([key, value]) => (key === 'entries' ? [key, variant('t', 1n)] : [key, value]))],
];
function encodeReportAlone(): Dict {
  return checked.slice(0, 9);
}
for (const [name, dict] of badReports) {
  test(`client refuses a report: ${name}`, () => assert.throws(() => decodeCheckReport(dict), ProtocolError));
}
test('client takes a report without facts, and one with', () => {
  assert.equal(decodeCheckReport(encodeReportAlone()).entries, undefined);
  assert.equal(decodeCheckReport(checked).missing, 1);
});
