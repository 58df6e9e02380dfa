import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { type VerityDigest, parseVerityDigest } from '../core/image/digest.js';
import { readDigestList } from './digest-list.js';
import { PolicyError } from './problem.js';

const digest = (text: string, algorithm: 'sha256' | 'sha512' = 'sha256'): VerityDigest =>
  parseVerityDigest(`${algorithm}:${createHash(algorithm).update(text).digest('hex')}`);
const [A, B, LONG] = [digest('a'), digest('b'), digest('a', 'sha512')];
const read = (text: string) => readDigestList('x.list', Buffer.from(text));

test('list taken: digests of both kinds, comments, white space, empty and CRLF lines, the last line without an end', () => {
  const list = read(`# images of today\n\n  ${A} # base\r\n${LONG}#long\n\t${A}\n${B}`);
  assert.deepEqual([list.size, list.algorithms, list.file], [3, ['sha256', 'sha512'], 'x.list']);
  assert.deepEqual([A, B, LONG, digest('c'), digest('b', 'sha512')].map(list.has), [true, true, true, false, false]);
});

test('list taken: without a digest it holds none', () => {
  for (const text of ['', '# nothing', '\n\n', ' \t']) {
    const list = read(text);
    assert.deepEqual([list.size, list.algorithms, list.has(A), list.has(LONG)], [0, [], false, false]);
  }
});

test('list taken: digests that begin alike are told apart, also where they share a place', () => {
  const alike = Array.from({ length: 200 }, (_, i) =>
    parseVerityDigest(`sha256:${'0'.repeat(60)}${i.toString(16).padStart(4, '0')}`),
  );
  const list = read(alike.slice(0, 100).join('\n'));
  assert.equal(list.size, 100);
  assert.deepEqual(
    alike.map(list.has),
    alike.map((_, i) => i < 100),
  );
});

const refused: readonly (readonly [what: string, text: string, start: string, ...parts: string[]])[] = [
  ['a word', `${A}\nhello\n`, 'x.list:2: ', 'lacks its algorithm'],
  ['a digest without algorithm', A.slice(7), 'x.list:1: ', 'lacks its algorithm'],
  ['upper-case digits', `sha256:${'AB'.repeat(32)}`, 'x.list:1: ', 'lower case'],
  ['an upper-case algorithm', `SHA256:${'ab'.repeat(32)}`, 'x.list:1: ', 'lower case'],
  ['63 digits', A.slice(0, -1), 'x.list:1: ', '64 hex digits, not 63'],
  ['65 digits', `${A}0`, 'x.list:1: ', '64 hex digits, not 65'],
  ['sha512 with 64 digits', `sha512:${A.slice(7)}`, 'x.list:1: ', '128 hex digits, not 64'],
  ['sha256 with 128 digits', `sha256:${LONG.slice(7)}`, 'x.list:1: ', '64 hex digits, not 128'],
  ['another algorithm', `sha1:${A.slice(7, 47)}`, 'x.list:1: ', '"sha1"'],
  ['a digit that is none', `sha256:${'g'.repeat(64)}`, 'x.list:1: ', 'other than 0-9 and a-f'],
  ['a name behind the digest', `${A} base.cfs`, 'x.list:1: ', 'one digest a line'],
  ['two digests on a line', `${A} ${B}`, 'x.list:1: ', 'one digest a line'],
  ['a byte-order mark', `\ufeff${A}`, 'x.list:1: ', 'fsverity digest'],
  ['NUL bytes', `${A}\n\0\0\0`, 'x.list:2: ', 'fsverity digest'],
  ['cut short', `${A}\n${B.slice(0, 40)}`, 'x.list:2: ', '64 hex digits, not 33'],
];
for (const [what, text, start, ...parts] of refused) {
  test(`list refused: ${what}`, () => {
    assert.throws(
      () => read(text),
      (error: Error) => {
        assert.ok(error instanceof PolicyError);
        assert.ok(error.message.startsWith(start), error.message);
        for (const part of parts) assert.ok(error.message.includes(part), error.message);
        return true;
      },
    );
  });
}

test('list refused: of very many bad lines the first twenty are told', () => {
  assert.throws(
    () => read('x\n'.repeat(1000)),
    (error: Error) => error instanceof PolicyError && error.problems.length === 20,
  );
});

test('a list has what a Set of its lines has', () => {
  const anyDigest = fc.integer({ min: 0, max: 40 }).map((n) => digest(String(n), n % 3 === 0 ? 'sha512' : 'sha256'));
  fc.assert(
    fc.property(fc.array(anyDigest, { maxLength: 40 }), anyDigest, (digests, wanted) => {
      const [list, set] = [read(digests.join('\n')), new Set(digests)];
      assert.deepEqual([list.size, list.has(wanted)], [set.size, set.has(wanted)]);
    }),
  );
});
