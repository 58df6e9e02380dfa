import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FormatError } from '../../core/image/format-error.js';
import { NEW_META, parseMeta } from './meta.js';

const base = { version: 1, algorithm: 'fsverity-sha256-12' };

const taken: [what: string, text: string, algorithm: string, readOnly: boolean][] = [
  ['what a new repository has', NEW_META, 'sha256', false],
  ['the least there can be', JSON.stringify(base), 'sha256', false],
  ['sha512', JSON.stringify({ ...base, algorithm: 'fsverity-sha512-12' }), 'sha512', false],
  ['features null', JSON.stringify({ ...base, features: null }), 'sha256', false],
  ['unknown compatible features', JSON.stringify({ ...base, features: { compatible: ['x'] } }), 'sha256', false],
  [
    'a feature that writers must know, and it is known',
    JSON.stringify({ ...base, features: { 'read-only-compatible': ['v1_erofs'] } }),
    'sha256',
    false,
  ],
  [
    'a feature that writers must know, and it is not',
    JSON.stringify({ ...base, features: { 'read-only-compatible': ['v1_erofs', 'x'] } }),
    'sha256',
    true,
  ],
];
for (const [what, text, algorithm, readOnly] of taken) {
  test(`meta.json taken: ${what}`, () => {
    const meta = parseMeta(text);
    assert.deepEqual([meta.algorithm, meta.readOnly !== undefined], [algorithm, readOnly]);
  });
}

const refused: [what: string, text: string, rule: string][] = [
  ['empty', '', 'repository-meta'],
  ['cut short', NEW_META.slice(0, -3), 'repository-meta'],
  ['a string', '"x"', 'repository-meta'],
  ['null', 'null', 'repository-meta'],
  ['no version', JSON.stringify({ algorithm: base.algorithm }), 'repository-version'],
  ['version 2', JSON.stringify({ ...base, version: 2 }), 'repository-version'],
  ['version as text', JSON.stringify({ ...base, version: '1' }), 'repository-version'],
  ['blocks of 64 KiB', JSON.stringify({ ...base, algorithm: 'fsverity-sha256-16' }), 'repository-algorithm'],
  ['an algorithm every object has', JSON.stringify({ ...base, algorithm: 'toString' }), 'repository-algorithm'],
  ['no algorithm', JSON.stringify({ version: 1 }), 'repository-algorithm'],
  ['an incompatible feature', JSON.stringify({ ...base, features: { incompatible: ['x'] } }), 'repository-features'],
  ['features that are no list', JSON.stringify({ ...base, features: { incompatible: 'x' } }), 'repository-features'],
];
for (const [what, text, rule] of refused) {
  test(`meta.json refused: ${what}`, () => {
    assert.throws(
      () => parseMeta(text),
      (error) => error instanceof FormatError && error.rule === rule,
    );
  });
}
