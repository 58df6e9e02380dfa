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
  } as const;
  const policy = { rules: 3, digests: 4, repositories: 1, loaded: 1_770_000_000_000 };
  assert.deepEqual(decodeMountResult(carry('a{sv}', encodeMountResult(result))), result);
  assert.deepEqual(decodeCheckReport(carry('a{sv}', encodeCheckReport(report))), report);
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
