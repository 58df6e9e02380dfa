import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDump } from './dump-parser.js';
import { chooseVersion } from './version.js';

const ROOT = '/ 0 40755 2 0 0 0 0.0 - - -\n';
const plain = parseDump(Buffer.from(ROOT));
const deep = parseDump(Buffer.from(`${ROOT}/d 0 40755 2 0 0 0 0.0 - - -\n/d/gone 0 20000 1 0 0 0 0.0 - - -\n`));
const device = parseDump(Buffer.from(`${ROOT}/null 0 20666 1 0 0 259 0.0 - - -\n/block 0 60666 1 0 0 0 0.0 - - -\n`));

const choices: readonly (readonly [min: number | undefined, max: number | undefined, plain: 0 | 1, whiteouts: 0 | 1])[] = [
  [undefined, undefined, 0, 1],
  [0, undefined, 0, 0],
  [1, undefined, 1, 1],
  [undefined, 0, 0, 0],
  [undefined, 1, 0, 1],
  [0, 0, 0, 0],
  [0, 1, 0, 1],
  [1, 0, 1, 1],
  [1, 1, 1, 1],
];

for (const [min, max, ofPlain, ofWhiteouts] of choices) {
  test(`version of min ${min ?? '-'}, max ${max ?? '-'}: ${ofPlain}, or ${ofWhiteouts} with whiteouts`, () => {
    assert.equal(chooseVersion(plain, { min, max }), ofPlain);
    assert.equal(chooseVersion(device, { min, max }), ofPlain);
    assert.equal(chooseVersion(deep, { min, max }), ofWhiteouts);
  });
}

test('version 2 and fractions are refused', () => {
  for (const range of [{ min: 2 }, { max: 2 }, { min: -1 }, { max: 0.5 }])
    assert.throws(() => chooseVersion(plain, range), { name: 'FormatError', rule: 'composefs-version' });
});
