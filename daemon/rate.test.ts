import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createRate } from './rate.js';

function rateAt(start: number) {
  const clock = { now: start };
  return { clock, rate: createRate(() => clock.now) };
}
const FULL = { code: 'QuotaExceeded' };

test('a user gets so many within a minute, and another when the first is a minute old', () => {
  const { clock, rate } = rateAt(5);
  rate.take(1000, 2);
  clock.now = 30_005;
  rate.take(1000, 2);
  assert.throws(() => rate.take(1000, 2), { ...FULL, hint: /^wait 30 s, / });
  clock.now = 60_004;
  assert.throws(() => rate.take(1000, 2), { ...FULL, hint: /^wait 1 s, / });
  clock.now = 60_005;
  rate.take(1000, 2);
  assert.throws(() => rate.take(1000, 2), { ...FULL, hint: /^wait 30 s, / });
});

test('what is given back, once, makes room at once', () => {
  const { rate } = rateAt(0);
  const giveBack = rate.take(1000, 1);
  assert.throws(() => rate.take(1000, 1), FULL);
  giveBack();
  rate.take(1000, 1);
  assert.throws(() => rate.take(1000, 1), FULL);
});

test('users do not share, and a lower limit holds at once', () => {
  const { rate } = rateAt(0);
  for (let i = 0; i < 5; i++) rate.take(1000, 5);
  rate.take(1001, 1);
  assert.throws(() => rate.take(1000, 3), FULL);
  assert.throws(() => rate.take(1001, 1), FULL);
});
