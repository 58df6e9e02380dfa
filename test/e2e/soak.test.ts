import assert from 'node:assert/strict';
import { test } from 'node:test';

import { RSS_GREW, soak } from '../soak/soak.js';

const CYCLES = 1_000;

test(`after ${CYCLES} cycles by clients of which a tenth were killed, the service holds what it held before`, async (t) => {
  let report = await soak(CYCLES);
  if (report.leaks.length === 1 && report.leaks[0]!.startsWith(RSS_GREW)) {
    // Heaps breathe by as much as this tolerates; a leak grows with the cycles, and four times as many leave no doubt of it.
    t.diagnostic(`${report.leaks[0]}: ${4 * CYCLES} cycles decide`);
    report = await soak(4 * CYCLES);
  }
  const { tally, leaks } = report;
  assert.deepEqual(leaks, []);
  assert.ok(tally.cycles >= CYCLES);
  assert.ok(tally.killed >= CYCLES / 12, `${tally.killed} were killed`);
  assert.ok(Object.keys(tally.at).length > 1, `at different points: ${JSON.stringify(tally.at)}`);
});
