import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { digestAlgorithm, digestHex, objectPath, parseVerityDigest, verityDigestFromBytes } from './digest.js';
import { FormatError } from './format-error.js';

const HEX256 = '0123456789abcdef'.repeat(4);
const HEX512 = HEX256 + HEX256;

const refused: readonly (readonly [what: string, text: string, rule: string])[] = [
  ['empty', '', 'digest-empty'],
  ['one space', ' ', 'digest-white-space'],
  ['trailing newline', `sha256:${HEX256}\n`, 'digest-white-space'],
  ['trailing carriage return', `sha256:${HEX256}\r`, 'digest-white-space'],
  ['leading space', ` sha256:${HEX256}`, 'digest-white-space'],
  ['space after the colon', `sha256: ${HEX256.slice(1)}`, 'digest-white-space'],
  ['no-break space', `sha256:${HEX256.slice(1)}\u00a0`, 'digest-white-space'],
  ['no algorithm', HEX256, 'digest-no-algorithm'],
  ['no colon', `sha256${HEX256}`, 'digest-no-algorithm'],
  ['hyphen for colon', `sha256-${HEX256}`, 'digest-no-algorithm'],
  ['empty algorithm', `:${HEX256}`, 'digest-unknown-algorithm'],
  ['sha1', `sha1:${HEX256.slice(0, 40)}`, 'digest-unknown-algorithm'],
  ['sha384', `sha384:${HEX256}`, 'digest-unknown-algorithm'],
  ['fsverity prefix', `fsverity-sha256:${HEX256}`, 'digest-unknown-algorithm'],
  ['property of an object as algorithm', `constructor:${HEX256}`, 'digest-unknown-algorithm'],
  ['upper-case algorithm', `SHA256:${HEX256}`, 'digest-upper-case'],
  ['one upper-case digit', `sha256:${HEX256.slice(0, -1)}F`, 'digest-upper-case'],
  ['all upper case', `sha512:${HEX512.toUpperCase()}`, 'digest-upper-case'],
  ['no digits', 'sha256:', 'digest-wrong-length'],
  ['63 digits', `sha256:${HEX256.slice(1)}`, 'digest-wrong-length'],
  ['65 digits', `sha256:${HEX256}0`, 'digest-wrong-length'],
  ['127 digits', `sha512:${HEX512.slice(1)}`, 'digest-wrong-length'],
  ['129 digits', `sha512:${HEX512}0`, 'digest-wrong-length'],
  ['sha512 with the length of sha256', `sha512:${HEX256}`, 'digest-wrong-length'],
  ['sha256 with the length of sha512', `sha256:${HEX512}`, 'digest-wrong-length'],
  ['a mebibyte of digits', `sha256:${'0'.repeat(2 ** 20)}`, 'digest-wrong-length'],
  ['g as digit', `sha256:${HEX256.slice(1)}g`, 'digest-not-hex'],
  ['0x prefix', `sha256:0x${HEX256.slice(2)}`, 'digest-not-hex'],
  ['second colon', `sha256::${HEX256.slice(1)}`, 'digest-not-hex'],
  ['path in it', `sha256:../${HEX256.slice(3)}`, 'digest-not-hex'],
  ['NUL in it', `sha256:${HEX256.slice(1)}\0`, 'digest-not-hex'],
  ['full-width digit', `sha256:${HEX256.slice(1)}\uff11`, 'digest-not-hex'],
];

for (const [what, text, rule] of refused) {
  test(`digest refused: ${what}`, () => {
    assert.throws(
      () => parseVerityDigest(text),
      (error) => error instanceof FormatError && error.rule === rule && error.message.length < 200,
    );
  });
}

test('digest taken: sha256 and sha512 in their canonical spelling, apart in algorithm, hex and object path', () => {
  for (const [algorithm, hex] of [
    ['sha256', HEX256],
    ['sha512', HEX512],
  ] as const) {
    const digest = parseVerityDigest(`${algorithm}:${hex}`);
    assert.equal(digest, `${algorithm}:${hex}`);
    assert.equal(digestAlgorithm(digest), algorithm);
    assert.equal(digestHex(digest), hex);
    assert.equal(objectPath(digest), `01/${hex.slice(2)}`);
  }
});

test('a message repeats no control character of a refused digest', () => {
  assert.throws(
    () => parseVerityDigest(`\u001b[31m:${HEX256}`),
    (error) => error instanceof FormatError && !error.message.includes('\u001b'),
  );
  assert.throws(() => parseVerityDigest(`sha1:${HEX256}`), /"sha1"/);
});

test('bytes of a digest: 31 and 33 refused, 32 written in hex with leading zeros', () => {
  assert.throws(() => verityDigestFromBytes('sha256', new Uint8Array(31)), FormatError);
  assert.throws(() => verityDigestFromBytes('sha256', new Uint8Array(33)), FormatError);
  assert.throws(() => verityDigestFromBytes('sha512', new Uint8Array(32)), FormatError);
  assert.equal(verityDigestFromBytes('sha256', new Uint8Array(32).fill(7, 31)), `sha256:${'0'.repeat(63)}7`);
});

test('any bytes make a digest that parses to itself', () => {
  const bytes = fc.oneof(fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.uint8Array({ minLength: 64, maxLength: 64 }));
  fc.assert(
    fc.property(bytes, (raw) => {
      const digest = verityDigestFromBytes(raw.length === 32 ? 'sha256' : 'sha512', raw);
      assert.equal(parseVerityDigest(digest), digest);
      assert.equal(digestHex(digest), Buffer.from(raw).toString('hex'));
    }),
  );
});

test('any text gives a digest or a FormatError', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.string().map((text) => `sha256:${text}`),
      ),
      (text) => {
        try {
          assert.match(parseVerityDigest(text), /^sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})$/);
        } catch (error) {
          assert.ok(error instanceof FormatError);
        }
      },
    ),
  );
});
