import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ByteString, byteString, toByteString } from '../../core/image/bytes.js';
import { escapeText } from '../output.js';
import { parseShownBytes, showBytes } from './shown-bytes.js';

const utf8 = (text: string): ByteString => toByteString(Buffer.from(text));

const shown: [value: ByteString, text: string][] = [
  [utf8(''), ''],
  [utf8('plain name'), 'plain name'],
  [utf8('日本é'), '日本é'],
  [utf8('a\\b'), 'a\\\\b'],
  [utf8('a\nb\tc\rd'), 'a\\nb\\tc\\rd'],
  [utf8('\u001B[31m'), '\\x1b[31m'],
  [utf8('\u202Eevil'), '\\xe2\\x80\\xaeevil'],
  [utf8('\uFEFFmark'), '\\xef\\xbb\\xbfmark'],
  [byteString('\xff'), '\\xff'],
  [byteString('\xc3\xa9\xff\\\n'), '\\xc3\\xa9\\xff\\\\\\n'],
];
for (const [value, text] of shown) {
  test(`shown as ${text}, and read back`, () => {
    assert.equal(showBytes(value), text);
    assert.equal(parseShownBytes(text), value);
  });
}

test('any bytes: what is shown is read back, and the terminal has nothing to escape', () => {
  const strings = fc.oneof(
    fc.uint8Array({ maxLength: 20 }).map((bytes) => toByteString(bytes)),
    fc.string({ unit: 'binary' }).map(utf8),
  );
  fc.assert(
    fc.property(strings, (value) => {
      assert.equal(parseShownBytes(showBytes(value)), value);
      assert.equal(escapeText(showBytes(value)), showBytes(value));
    }),
  );
});

for (const text of ['\\', 'a\\', '\\q', '\\x', '\\x1', '\\x1g', '\\xg1'])
  test(`not read: ${text}`, () => assert.equal(parseShownBytes(text), undefined));
