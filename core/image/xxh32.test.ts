import assert from 'node:assert/strict';
import { test } from 'node:test';
import { byteString } from './bytes.js';
import { xxh32 } from './xxh32.js';

// Values of the reference implementation, xxhsum -H0.
const known: readonly (readonly [text: string, hash: number])[] = [
  ['', 0x02cc5d05],
  ['a', 0x550d7456],
  ['abc', 0x32d153ff],
  ['Nobody inspects the spammish repetition', 0xe2293b2f],
];

for (const [text, hash] of known) test(`XXH32 known: "${text}"`, () => assert.equal(xxh32(byteString(text), 0), hash));

test('the seed counts', () => assert.notEqual(xxh32(byteString('abc'), 1), xxh32(byteString('abc'), 0)));
