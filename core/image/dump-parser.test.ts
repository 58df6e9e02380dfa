import assert from 'node:assert/strict';
import { test } from 'node:test';
import { byteString, toByteString } from './bytes.js';
import { parseDump } from './dump-parser.js';
import { FormatError } from './format-error.js';
import { type Node, isLink } from './tree.js';

const ROOT = '/ 0 40755 2 0 0 0 0.0 - - -\n';
const HEX = '0123456789abcdef'.repeat(4);

function parse(text: string, strict = false): Node {
  return parseDump(Buffer.from(text, 'latin1'), { strict });
}

function child(root: Node, name: string): Node {
  const entry = root.children?.get(byteString(name));
  assert.ok(entry !== undefined);
  return isLink(entry) ? entry.link : entry;
}

/** Line 2 behind a good root; the column is left out where it is the start of the line. */
const refusals: readonly (readonly [what: string, line: string, rule: string, column?: number])[] = [
  ['a path without a leading slash', 'a 0 100644 1 0 0 0 0.0 - - -', 'dump-path'],
  ['a path with two slashes', '//a 0 100644 1 0 0 0 0.0 - - -', 'name-empty'],
  ['a path that ends in a slash', '/a/ 0 40755 1 0 0 0 0.0 - - -', 'dump-parent'],
  ['a path whose parent is not listed', '/a/b 0 100644 1 0 0 0 0.0 - - -', 'dump-parent'],
  ['a path with a NUL in it', '/a\\x00b 0 100644 1 0 0 0 0.0 - - -', 'dump-path'],
  ['the root twice', '/ 0 40755 2 0 0 0 0.0 - - -', 'dump-root'],
  ['. made of an escape', '/\\x2e 0 100644 1 0 0 0 0.0 - - -', 'name-dot'],
  ['a name of 256 bytes', `/${'n'.repeat(256)} 0 100644 1 0 0 0 0.0 - - -`, 'name-length'],
  ['an empty line', '', 'dump-empty-line'],
  ['a NUL byte', '/a 0 100644 1 0 0 0 0.0 - - - k=\0', 'dump-nul', 33],
  ['seven fields', '/a 0 100644 1 0 0 0', 'dump-fields', 20],
  ['two spaces in a row', '/a 0  100644 1 0 0 0 0.0 - - -', 'dump-number', 6],
  ['a size with a sign', '/a +1 100644 1 0 0 0 0.0 - - -', 'dump-number', 4],
  ['a size with letters', '/a 1k 100644 1 0 0 0 0.0 - - -', 'dump-number', 5],
  ['a size of 2^64', '/a 18446744073709551616 10644 1 0 0 0 0.0 - - -', 'dump-number-range', 4],
  ['an external size of 2^53 + 1', '/a 9007199254740993 100644 1 0 0 0 0.0 - - -', 'external-size', 4],
  ['an external size of 2^64 - 1', '/a 18446744073709551615 100644 1 0 0 0 0.0 - - -', 'external-size', 4],
  ['a uid of 2^32', '/a 0 100644 1 4294967296 0 0 0.0 - - -', 'dump-number-range', 15],
  ['a gid with letters behind a uid', '/a 0 100644 1 1 x 0 0.0 - - -', 'dump-number', 17],
  ['an rdev with letters', '/a 0 20644 1 1 1 x 0.0 - - -', 'dump-number', 18],
  ['an nlink below zero', '/a 0 100644 -1 0 0 0 0.0 - - -', 'dump-number', 13],
  ['a mode with an 8', '/a 0 100648 1 0 0 0 0.0 - - -', 'dump-number', 11],
  ['a mode of 33 bits', '/a 0 40000100644 1 0 0 0 0.0 - - -', 'dump-number-range', 6],
  ['a mode without a type', '/a 0 644 1 0 0 0 0.0 - - -', 'mode-type', 6],
  ['a mode of an unknown type', '/a 0 150644 1 0 0 0 0.0 - - -', 'mode-type', 6],
  ['an mtime without nanoseconds', '/a 0 100644 1 0 0 0 5 - - -', 'dump-time', 21],
  ['an mtime with nothing behind the dot', '/a 0 100644 1 0 0 0 5. - - -', 'dump-number', 23],
  ['an mtime with nothing before the dot', '/a 0 100644 1 0 0 0 .5 - - -', 'dump-number', 21],
  ['negative nanoseconds', '/a 0 100644 1 0 0 0 0.-5 - - -', 'dump-number', 23],
  ['nanoseconds of 2^32', '/a 0 100644 1 0 0 0 0.4294967296 - - -', 'dump-number-range', 23],
  ['seconds of 2^63', '/a 0 100644 1 0 0 0 9223372036854775808.0 - - -', 'dump-number-range', 21],
  ['seconds below -2^63', '/a 0 100644 1 0 0 0 -9223372036854775809.0 - - -', 'dump-number-range', 22],
  ['an unknown escape', '/a\\q 0 100644 1 0 0 0 0.0 - - -', 'dump-escape', 3],
  ['an escape cut short', '/a\\x4 0 100644 1 0 0 0 0.0 - - -', 'dump-escape', 3],
  ['a backslash at the end', '/a 0 100644 1 0 0 0 0.0 - - - k=v\\', 'dump-escape', 34],
  ['an escape of other digits', '/a\\xg0 0 100644 1 0 0 0 0.0 - - -', 'dump-escape', 3],
  ['a symbolic link without a target', '/a 0 120777 1 0 0 0 0.0 - - -', 'target-missing', 25],
  ['a symbolic link with an empty target', '/a 0 120777 1 0 0 0 0.0', 'target-missing', 24],
  ['a target of 4096 bytes', `/a 4096 120777 1 0 0 0 0.0 ${'t'.repeat(4096)} - -`, 'target-length', 28],
  ['a target with a NUL', '/a 3 120777 1 0 0 0 0.0 a\\x00b - -', 'target-nul', 25],
  ['a payload of 4096 bytes', `/a 9 100644 1 0 0 0 0.0 ${'p'.repeat(4096)} - -`, 'payload-length', 25],
  ['a payload with a NUL', '/a 9 100644 1 0 0 0 0.0 a\\x00b - -', 'payload-nul', 25],
  ['a payload of a directory', '/a 0 40755 1 0 0 0 0.0 p - -', 'payload-type', 24],
  ['content of 5001 bytes', `/a 5001 100644 1 0 0 0 0.0 - ${'c'.repeat(5001)} -`, 'content-length', 30],
  ['a size that is not that of the content', '/a 4 100644 1 0 0 0 0.0 - abcde -', 'content-size', 4],
  ['content of a FIFO', '/a 1 10644 1 0 0 0 0.0 - c -', 'content-type', 26],
  ['a digest of a directory', `/a 0 40755 1 0 0 0 0.0 - - ${HEX}`, 'digest-type', 28],
  ['a digest of 63 digits', `/a 9 100644 1 0 0 0 0.0 - - ${HEX.slice(1)}`, 'dump-digest', 29],
  ['a digest of 65 digits', `/a 9 100644 1 0 0 0 0.0 - - ${HEX}0`, 'dump-digest', 29],
  ['a digest with a letter g', `/a 9 100644 1 0 0 0 0.0 - - ${HEX.slice(1)}g`, 'dump-digest', 29],
  ['an xattr without =', '/a 0 100644 1 0 0 0 0.0 - - - key', 'dump-xattr', 31],
  ['an escaped = instead of a raw one', '/a 0 100644 1 0 0 0 0.0 - - - k\\x3dv', 'dump-xattr', 31],
  ['two spaces before an xattr', '/a 0 100644 1 0 0 0 0.0 - - -  k=v', 'dump-xattr', 31],
  ['two spaces at the end', '/a 0 100644 1 0 0 0 0.0 - - - k=v  ', 'dump-xattr', 35],
  ['an empty xattr key', '/a 0 100644 1 0 0 0 0.0 - - - =v', 'xattr-key-empty', 31],
  ['an xattr key of 256 bytes', `/a 0 100644 1 0 0 0 0.0 - - - ${'k'.repeat(256)}=`, 'xattr-key-length', 31],
  ['an xattr key with a NUL', '/a 0 100644 1 0 0 0 0.0 - - - a\\x00=', 'xattr-key-nul', 31],
  ['xattrs that count 32768', `/a 0 100644 1 0 0 0 0.0 - - - k=${'v'.repeat(32768 - 20)}`, 'xattrs-size', 31],
  ['65536 bytes of xattrs', `/a 0 100644 1 0 0 0 0.0 - - - ${'k=v '.repeat(16384)}`, 'dump-xattrs-length', 31],
  ['a link to a directory', '/a 0 @40755 1 0 0 0 0.0 / - -', 'link-to-directory', 6],
  ['a link to a directory in disguise', '/a 0 @100644 1 0 0 0 0.0 / - -', 'link-to-directory', 26],
  ['a link without a target', '/a 0 @100644 1 0 0 0 0.0 - - -', 'link-target', 26],
  ['a link to what is not there', '/a 0 @100644 1 0 0 0 0.0 /b - -', 'link-target', 26],
  ['a link to itself', '/a 0 @100644 1 0 0 0 0.0 /a - -', 'link-to-itself', 26],
  ['a link of an unknown type', '/a 0 @644 1 0 0 0 0.0 /b - -', 'mode-type', 6],
];

for (const [what, line, rule, column = 1] of refusals) {
  test(`dump refused: ${what}`, () => {
    assert.throws(() => parse(`${ROOT}${line}\n`), { name: 'FormatError', rule, position: { line: 2, column } });
  });
}

const whole: readonly (readonly [what: string, text: string, rule: string])[] = [
  ['nothing', '', 'dump-empty'],
  ['a root that is a file', '/ 0 100644 2 0 0 0 0.0 - - -\n', 'dump-root'],
  ['a root that is a link', '/ 0 @100644 2 0 0 0 0.0 /a - -\n', 'dump-root'],
  ['a first line that is not the root', '/a 0 40755 2 0 0 0 0.0 - - -\n', 'dump-root'],
  ['a name twice', `${ROOT}/a 0 100644 1 0 0 0 0.0 - - -\n/\\x61 0 100644 1 0 0 0 0.0 - - -\n`, 'dump-path-twice'],
  ['an entry below a file', `${ROOT}/a 0 100644 1 0 0 0 0.0 - - -\n/a/b 0 100644 1 0 0 0 0.0 - - -\n`, 'dump-parent'],
  ['an entry below a link', `${ROOT}/l 0 @100644 1 0 0 0 0.0 /d - -\n/l/b 0 100644 1 0 0 0 0.0 - - -\n`, 'dump-parent'],
  ['links in a circle', `${ROOT}/a - @100644 - - - - - /b\n/b - @100644 - - - - - /a\n`, 'link-cycle'],
  [
    'links into a circle',
    `${ROOT}/0 - @100644 - - - - - /a\n/a - @100644 - - - - - /b\n/b - @100644 - - - - - /a\n`,
    'link-cycle',
  ],
  ['a link to a whiteout', `${ROOT}/w 0 20600 1 0 0 0 0.0 - - -\n/x - @20600 - - - - - /w\n`, 'link-to-whiteout'],
];

for (const [what, text, rule] of whole) {
  test(`dump refused: ${what}`, () => assert.throws(() => parse(text), { name: 'FormatError', rule }));
}

test('dump taken at its limits', () => {
  const lines = [
    `/${'n'.repeat(255)} 0 100644 4294967295 4294967295 4294967295 0 -9223372036854775808.4294967295 - - -`,
    `/t 4095 120777 1 0 0 0 9223372036854775807.0 ${'t'.repeat(4095)} - -`,
    `/c 5000 100644 1 0 0 0 0.0 - ${'c'.repeat(5000)} -`,
    `/p 9007199254740992 100644 1 0 0 0 0.0 ${'p'.repeat(4095)} - ${HEX}`,
    `/f 18446744073709551615 10644 1 0 0 0 0.0 - - -`,
    `/k 0 100644 1 0 0 0 0.0 - - - ${'k'.repeat(255)}=`,
    `/v 0 100644 1 0 0 0 0.0 - - - k=${'v'.repeat(32767 - 20)}`,
  ];
  const root = parse(`${ROOT}${lines.join('\n')}\n`, true);
  assert.equal(root.children?.size, lines.length);
  assert.equal(child(root, 'f').size, 2n ** 64n - 1n);
  const named = child(root, 'n'.repeat(255));
  assert.deepEqual([named.mtime, named.mtimeNsec, named.uid], [-(2n ** 63n), 4294967295, 4294967295]);
});

test('dump taken: what the format calls valid and odd', () => {
  const root = parse(
    `${ROOT}/a 0 37777100644 1 0 0 7 1.1 - - - k=1 k=a=b \n/l - @100644 - - - - - //m\n/m - @100644 - - - - - /a/\n/e 0 100644 1 0 0 0 0.0\n/s 9 120777 1 0 0 0 0.0 \\x2d - -\n/\xff\\x5C 0 40755 1 0 0 0 0.0 - - -`,
  );
  const file = child(root, 'a');
  assert.equal(file.mode, 0o100644);
  assert.equal(file.rdev, 0);
  assert.deepEqual([file.mtime, file.mtimeNsec], [1n, 1]);
  assert.deepEqual([...file.xattrs], [['k', 'a=b']]);
  assert.equal(child(root, 'l'), file);
  assert.equal(child(root, 'm'), file);
  assert.equal(child(root, 's').target, '-');
  assert.ok(root.children?.has(toByteString(Uint8Array.of(0xff, 0x5c))));
});

const sloppy: readonly (readonly [what: string, text: string, rule: string])[] = [
  ['no LF at the end', ROOT.trimEnd(), 'strict-last-newline'],
  ['a device number of a file', `${ROOT}/a 0 100644 1 0 0 1 0.0 - - -\n`, 'strict-rdev'],
  ['a size that is not that of the target', `${ROOT}/a 2 120777 1 0 0 0 0.0 t - -\n`, 'strict-target-size'],
  ['content of a symbolic link', `${ROOT}/a 1 120777 1 0 0 0 0.0 t c -\n`, 'strict-target-content'],
  ['a SHA-512 digest', `${ROOT}/a 9 100644 1 0 0 0 0.0 - - ${HEX}${HEX}\n`, 'dump-digest'],
];

for (const [what, text, rule] of sloppy) {
  test(`dump taken, but not in strict mode: ${what}`, () => {
    parse(text);
    assert.throws(() => parse(text, true), { name: 'FormatError', rule });
  });
}

test('a chain of links is followed in linear time', () => {
  const count = 20_000;
  let text = ROOT;
  for (let index = 0; index < count; index += 1) text += `/${index} - @100644 - - - - - /${index + 1}\n`;
  const started = performance.now();
  const root = parse(`${text}/${count} 0 100644 1 0 0 0 0.0 - - -\n`);
  assert.equal(child(root, '0'), child(root, String(count)));
  assert.ok(performance.now() - started < 5000);
});

test('the error is a FormatError whose message names place and rule', () => {
  assert.throws(
    () => parse(`${ROOT}/a x 100644 1 0 0 0 0.0 - - -\n`),
    (error) =>
      error instanceof FormatError && error.message === 'line 2, column 4: the size must be decimal digits only (dump-number)',
  );
});
