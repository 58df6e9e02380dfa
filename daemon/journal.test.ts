import assert from 'node:assert/strict';
import { test } from 'node:test';

import { encodeFields, journalFields } from './journal.js';

test('a line of the log is the message; a decision has its fields as the journal knows them, and a priority', () => {
  const line = '{"level":"info","time":"T","audit":true,"uid":1000,"verdict":"deny","reason":"no \\"x\\"","msg":"denied"}\n';
  assert.deepEqual(journalFields(line), {
    MESSAGE: line.trimEnd(),
    PRIORITY: '5',
    SYSLOG_IDENTIFIER: 'cfsmountd',
    CFSMOUNTD_AUDIT: 'true',
    CFSMOUNTD_UID: '1000',
    CFSMOUNTD_VERDICT: 'deny',
    CFSMOUNTD_REASON: 'no "x"',
  });
});

const priorities: readonly (readonly [line: string, priority: string])[] = [
  ['{"level":"info","msg":"ready"}', '6'],
  ['{"level":"info","audit":true,"verdict":"allow"}', '6'],
  ['{"level":"info","audit":true,"verdict":"revoked"}', '5'],
  ['{"level":"error","audit":true,"verdict":"deny"}', '3'],
  ['{"level":"fatal","msg":"x"}', '2'],
  ['{"level":"warn","msg":"x"}', '4'],
  ['{"level":"debug","msg":"x"}', '7'],
];
for (const [line, priority] of priorities) {
  test(`priority ${priority}: ${line}`, () => {
    const fields = journalFields(line);
    assert.equal(fields['PRIORITY'], priority);
    if (!line.includes('audit')) assert.deepEqual(Object.keys(fields), ['MESSAGE', 'PRIORITY', 'SYSLOG_IDENTIFIER']);
  });
}

test('a value of several lines goes with its length, and cannot bring a field of its own', () => {
  const forged = 'x\nPRIORITY=0\n';
  const bytes = encodeFields({ A: '1', B: forged, C: 'é' });
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(forged.length));
  assert.deepEqual(bytes, Buffer.concat([Buffer.from('A=1\nB\n'), length, Buffer.from(`${forged}\nC=é\n`)]));
});
