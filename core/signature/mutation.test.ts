import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';

import { seededRandom, type Random } from '../../test/fuzz/random.js';
import { makeScratch } from '../../test/support/scratch.js';
import { makeSigner } from '../../test/support/signing.js';
import { parseVerityDigest } from '../image/digest.js';
import { FormatError } from '../image/format-error.js';
import { parseCertificate } from './certificate.js';
import { makeSignature } from './make-signature.js';
import { verifySignature } from './verify.js';

const BUDGET_MS = 3000;
const MAX_MS = 50;

const scratch = makeScratch();
after(() => scratch.remove());

/** One to four faults: a byte changed, bytes left out, doubled or put somewhere else. */
function damage(bytes: Buffer, random: Random): Buffer {
  let damaged = Buffer.from(bytes);
  for (let faults = 1 + random.below(4); faults > 0; faults -= 1) {
    const at = random.below(damaged.length);
    const to = Math.min(damaged.length, at + 1 + random.below(16));
    const kind = random.below(4);
    if (kind === 0) damaged[at] = random.below(256);
    else if (kind === 1) damaged = Buffer.concat([damaged.subarray(0, at), damaged.subarray(to)]);
    else if (kind === 2) damaged = Buffer.concat([damaged.subarray(0, to), damaged.subarray(at)]);
    else damaged = Buffer.concat([damaged.subarray(to), damaged.subarray(at, to), damaged.subarray(0, at)]);
    if (damaged.length === 0) break;
  }
  return damaged;
}

/** The rule that was broken; '' if nothing was. Anything but a FormatError goes up. */
function ruleOf(act: () => unknown): string {
  const started = process.cpuUsage();
  let rule = '';
  try {
    act();
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    ({ rule } = error);
  }
  const { user, system } = process.cpuUsage(started);
  assert.ok((user + system) / 1000 < MAX_MS, `${rule}: ${(user + system) / 1000} ms`);
  return rule;
}

test('damaged signatures are refused with a FormatError, quickly, and none is taken', () => {
  const digest = parseVerityDigest(`sha256:${'5a'.repeat(32)}`);
  const { key, certificate } = makeSigner(scratch.path, 'signer', 'P-256');
  const good = makeSignature(digest, createPrivateKey(readFileSync(key)), certificate);
  const keys = { certificates: [certificate], revoked: new Set<string>() };
  const rules = new Set<string>();
  const started = performance.now();
  for (let seed = 1; performance.now() - started < BUDGET_MS; seed += 1) {
    const damaged = damage(good, seededRandom(seed));
    if (damaged.equals(good)) continue;
    const rule = ruleOf(() => verifySignature(damaged, digest, keys, Date.now()));
    assert.notEqual(rule, '', `seed ${seed}: taken`);
    rules.add(rule);
  }
  assert.ok(rules.has('signature-wrong') && rules.has('signer-unknown') && rules.size > 12, [...rules].join(' '));
});

test('damaged certificates are refused with a FormatError, quickly, or taken', () => {
  const { cert } = makeSigner(scratch.path, 'authority', 'rsa:2048', '-addext', 'keyUsage=digitalSignature');
  const good = Buffer.from(readFileSync(cert, 'utf8').split('-----')[2]!, 'base64');
  const rules = new Set<string>();
  const started = performance.now();
  for (let seed = 1; performance.now() - started < BUDGET_MS; seed += 1) {
    rules.add(ruleOf(() => parseCertificate(damage(good, seededRandom(seed)))));
  }
  assert.ok(rules.has('') && rules.has('certificate-malformed') && rules.size > 8, [...rules].join(' '));
});
