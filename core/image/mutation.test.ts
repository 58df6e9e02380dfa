import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzzSubjects } from '../../test/fuzz/subjects.js';
import { runTrial } from '../../test/fuzz/trial.js';

const BUDGET_MS = 4000;

test('damaged images and dumps are refused with a FormatError, quickly, or taken (long tier: test/fuzz/image.ts)', () => {
  const subjects = fuzzSubjects();
  const outcomes = new Set<string>();
  const started = performance.now();
  let seed = 1_000_000;
  for (; performance.now() - started < BUDGET_MS; seed += 1) outcomes.add(runTrial(subjects, seed).outcome);
  assert.ok(
    outcomes.has('taken') && outcomes.has('canonical') && outcomes.has('judged') && outcomes.size > 30,
    `the damage is too one-sided: ${[...outcomes].join(' ')}`,
  );
});
