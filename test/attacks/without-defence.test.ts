// Each attack test must fail when its defence is taken out: one daemon is built for each entry, and the named test run against it.
// One row alone: node --test --test-name-pattern='row 7:' build/test/attacks/without-defence.test.js
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';

import { buildMutant, type Defence, runTestsAgainst, type TestRun } from '../support/mutant.js';
import { makeScratch } from '../support/scratch.js';
import { DEFENCES_1 } from './defences-1.js';
import { DEFENCES_2 } from './defences-2.js';
import { DEFENCES_3 } from './defences-3.js';

const scratch = makeScratch();
after(() => scratch.remove());

/** Ways to fail that say nothing about the defence. */
const WRONG_REASONS = [
  'the daemon ended', // it did not start, or fell over
  'the daemon is ready', // it never was
  "failureType: 'hookFailed'",
  'ERR_MODULE_NOT_FOUND',
  "failureType: 'cancelledByParent'",
];

const failedTests = ({ output }: TestRun): string[] =>
  [...output.matchAll(/^ *not ok \d+ - (?!.*\.test\.js)(.*)$/gm)].map((match) => match[1]!);

async function requireFailure(defence: Defence, directory: string): Promise<void> {
  await buildMutant(directory, defence.edits);
  const result = await runTestsAgainst(directory, [`attacks/${defence.file}`], defence.pattern);
  assert.doesNotMatch(result.output, /^# tests 0$/m, `no test of ${defence.file} is called ${defence.pattern}`);
  assert.ok(failedTests(result).length > 0, `the test passes without the defence:\n${result.output}`);
  for (const reason of WRONG_REASONS) {
    assert.ok(!result.output.includes(reason), `the test fails for another reason (${reason}):\n${result.output}`);
  }
}

describe('without its defence, an attack succeeds', { concurrency: 2 }, () => {
  for (const [index, defence] of [...DEFENCES_1, ...DEFENCES_2, ...DEFENCES_3].entries()) {
    test(`row ${defence.row}: ${defence.defence}`, { timeout: 120_000 }, async () => {
      await requireFailure(defence, join(scratch.path, String(index)));
    });
  }
});

test('a daemon built the same way with nothing taken out passes', async () => {
  const directory = join(scratch.path, 'whole');
  await buildMutant(directory, []);
  const result = await runTestsAgainst(directory, ['attacks/15-digest-not-checked']);
  assert.equal(result.status, 0, result.output);
});

test('an entry whose text is not in the source is an error, and so is one whose text is there twice', async () => {
  const source = 'daemon/userns.ts';
  const attempt = (find: string) => buildMutant(join(scratch.path, `none-${find}`), [{ source, find, replace: '' }]);
  await assert.rejects(attempt('no such text'), /0 times, not once/);
  await assert.rejects(attempt('owners'), /times, not once/);
});
