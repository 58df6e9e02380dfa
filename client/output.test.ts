import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  escapeText,
  formatCount,
  formatError,
  formatFields,
  formatJson,
  formatJsonArray,
  formatTable,
  formatTime,
  shortenDigest,
} from './output.js';

test('control, invisible and turning characters are escaped, all others are kept', () => {
  assert.equal(escapeText('a\u001B[31m\n\u009B\u202E\u200Bé日😀'), 'a\\u{1b}[31m\\u{a}\\u{9b}\\u{202e}\\u{200b}é日😀');
});

test('a table has columns as wide as their widest cell', () => {
  assert.equal(
    formatTable(
      ['A', 'BB'],
      [
        ['xxx', 'y'],
        ['', 'z\n'],
      ],
    ),
    'A    BB\nxxx  y\n     z\\u{a}\n',
  );
});

test('an empty table is its header', () => {
  assert.equal(formatTable(['A', 'BB'], []), 'A  BB\n');
});

test('fields: empty ones left out, several lines below each other', () => {
  assert.equal(
    formatFields([
      ['a', 'x'],
      ['long', ['1', '2']],
      ['none', ''],
      ['list', []],
    ]),
    'a     x\nlong  1\n      2\n',
  );
});

test('JSON holds 64-bit integers exactly, as strings', () => {
  assert.equal(formatJson({ id: 2n ** 64n - 1n }), '{"id":"18446744073709551615"}\n');
});

test('JSON of any text is one printable line that is read back as the text', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const json = formatJson(text);
      assert.equal(JSON.parse(json), text);
      assert.equal(escapeText(json.slice(0, -1)), json.slice(0, -1));
    }),
  );
});

test('an error: the message, and each line of the hint', () => {
  assert.equal(
    formatError({ code: 'Failed', message: 'm\u0007', hint: 'a\n\nb' }, false),
    'cfsctl: m\\u{7}\n  hint: a\n\n        b\n',
  );
  assert.equal(formatError({ code: 'Usage', message: 'm' }, false), 'cfsctl: m\n');
});

test('an error as JSON: code, message, hint', () => {
  assert.equal(formatError({ code: 'Usage', message: 'm' }, true), '{"code":"Usage","message":"m","hint":null}\n');
});

test('a digest is shortened to its algorithm and 12 digits', () => {
  assert.equal(shortenDigest(`sha256:${'0123456789abcdef'.repeat(4)}`), 'sha256:0123456789ab');
});

test('a time that no calendar has does not break a listing', () => {
  assert.equal(formatTime(2 ** 64), 'unknown');
  assert.match(formatTime(0), /^19(69|70)-\d\d-\d\d \d\d:\d\d:\d\d$/);
});

test('an array made piece by piece is the one made at once', () => {
  for (const values of [[], [1n], [{ a: 'x\u007F' }, null, [2n]]])
    assert.equal([...formatJsonArray(values)].join(''), formatJson(values));
});

test('one is one, more are many', () => {
  assert.deepEqual(
    [formatCount(0, 'object'), formatCount(1, 'object'), formatCount(2, 'object')],
    ['0 objects', '1 object', '2 objects'],
  );
});
