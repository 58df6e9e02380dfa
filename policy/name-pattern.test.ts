import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { describeBadPattern, matchesName } from './name-pattern.js';

const cases: readonly (readonly [pattern: string, matching: string[], others: string[]])[] = [
  ['base', ['base'], ['Base', 'bas', 'base2', 'team/base', 'base/x']],
  ['*', ['base', 'a.b-c_d'], ['team/base']],
  ['team/*', ['team/base', 'team/x'], ['team', 'teams/base', 'team/x/y', 'other/base']],
  ['*/base', ['team/base'], ['base', 'team/base2', 'a/b/base']],
  ['team/**', ['team/base', 'team/x/y/z'], ['team', 'teams/x']],
  ['**', ['base', 'a/b/c'], []],
  ['v?', ['v1', 'v_'], ['v', 'v12', 'v/']],
  ['a*b*c', ['abc', 'axxbyyc', 'abbcc', 'abcbc'], ['ab', 'acb', 'abcd']],
  ['*-*', ['a-b', '-', 'a--b'], ['ab']],
  ['1.2', ['1.2'], ['1x2']],
];
for (const [pattern, matching, others] of cases) {
  test(`names: ${pattern} is for ${matching.join(', ')}`, () => {
    assert.equal(describeBadPattern(pattern), undefined);
    for (const name of matching) assert.equal(matchesName(pattern, name), true, name);
    for (const name of others) assert.equal(matchesName(pattern, name), false, name);
  });
}

for (const pattern of [
  '',
  '/',
  'a//b',
  '/a',
  'a/',
  'a b',
  '**/a',
  'a/**/b',
  'a**',
  'a/b**',
  '[ab]',
  '{a,b}',
  'a\\*',
  'ä',
  'a'.repeat(256),
]) {
  test(`names: ${JSON.stringify(pattern.slice(0, 20))} is refused`, () =>
    assert.equal(typeof describeBadPattern(pattern), 'string'));
}

test('names: a pattern of many stars takes no time', () => {
  assert.equal(matchesName(`${'*a'.repeat(100)}b`, 'a'.repeat(255)), false);
});

const part = fc
  .string({ unit: fc.constantFrom('a', 'b', '*', '?'), minLength: 1, maxLength: 6 })
  .filter((text) => !text.includes('**'));
const name = fc.array(fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 3 });

test('names: as a regular expression of the same meaning says', () => {
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 3 }), name, (parts, names) => {
      const meant = parts.join('/').replaceAll('*', '[^/]*').replaceAll('?', '[^/]');
      assert.equal(matchesName(parts.join('/'), names.join('/')), new RegExp(`^${meant}$`).test(names.join('/')));
    }),
    { numRuns: 1000 },
  );
});
