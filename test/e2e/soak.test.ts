import assert from 'node:assert/strict';
import { test } from 'node:test';

import { soak } from '../soak/soak.js';

const CYCLES = 1_000;

test(`after ${CYCLES} cycles by clients of which a tenth were killed, the service holds what it held before`, async () => {
  const { tally, leaks } = await soak(CYCLES);
  assert.deepEqual(leaks, []);
  assert.ok(tally.cycles >= CYCLES);
  assert.ok(tally.killed >= CYCLES / 12, `${tally.killed} were killed`);
  assert.ok(Object.keys(tally.at).length > 1, `at different points: ${JSON.stringify(tally.at)}`);
});
