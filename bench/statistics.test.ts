import assert from 'node:assert/strict';
import { test } from 'node:test';

import { median, quantile, randomFrom, ratioOf, shuffle, summarise } from './statistics.js';

const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

for (const [what, samples, fraction, expected] of [
  ['the only sample', [7], 0.5, 7],
  ['the middle of an odd number', [9, 1, 5], 0.5, 5],
  ['the lower middle of an even number', [4, 1, 3, 2], 0.5, 2],
  ['the 19th of 20 for p95', upTo(20), 0.95, 19],
  ['the 20th of 21 for p95', upTo(21), 0.95, 20],
  ['the lowest for 0', [3, 2], 0, 2],
  ['the highest for 1', [3, 20, 2], 1, 20],
] as const) {
  test(`quantile: ${what}`, () => assert.equal(quantile(samples, fraction), expected));
}

test('quantile refused: no samples', () => assert.throws(() => quantile([], 0.5), RangeError));

test('the order of the samples stays as it was', () => {
  const samples = [3, 1, 2];
  median(samples);
  assert.deepEqual(samples, [3, 1, 2]);
});

test('a summary counts', () => assert.deepEqual(summarise(upTo(100)), { n: 100, p50: 50, p95: 95 }));

test('a ratio is taken within each round, so that a slow round moves both sides', () => {
  const base = [[10], [100], [10]];
  const other = [[20], [200], [21]];
  assert.deepEqual(ratioOf(other, base), { median: 2, low: 2, high: 2.1, rounds: 3 });
});

for (const [rounds, low, high] of [
  [5, 1, 5],
  [7, 1, 7],
  [8, 2, 7],
  [100, 41, 60],
] as const) {
  test(`the interval of the median of ${rounds} rounds leaves out ${low - 1} on either side`, () => {
    const spread = ratioOf(
      upTo(rounds).map((value) => [value]),
      upTo(rounds).map(() => [1]),
    );
    assert.deepEqual([spread.low, spread.high], [low, high]);
  });
}

test('ratio refused: a round is missing', () => assert.throws(() => ratioOf([[1]], [[1], [1]]), RangeError));

test('the same seed gives the same order, and another seed another one', () => {
  const order = (seed: number): number[] => shuffle(upTo(50), randomFrom(seed));
  assert.deepEqual(order(1), order(1));
  assert.notDeepEqual(order(1), order(2));
  assert.deepEqual(
    order(1).sort((a, b) => a - b),
    upTo(50),
  );
});
