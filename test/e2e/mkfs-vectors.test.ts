// cfsctl mkfs --from-file, compared with the images of the reference tool.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chownSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { CFSCTL } from '../support/cfsctl.js';
import { requirePrivileges } from '../support/machine.js';
import { assertDone, assertRefused } from '../support/outcome.js';
import { type Outcome, runAs } from '../support/run-as.js';
import { makeScratch } from '../support/scratch.js';
import { badVectors, goodVectors, noVectors, type Vector } from '../support/vectors.js';

requirePrivileges();
const UID = 4713;
const scratch = makeScratch();
const at = (...names: string[]): string => join(scratch.path, ...names);

before(() => chownSync(scratch.path, UID, UID));
after(() => scratch.remove());

const asUser = (...words: string[]): Outcome => runAs(UID, [CFSCTL, ...words], { cwd: scratch.path });

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function rangeOptions({ range }: Vector): string[] {
  const { min, max } = range;
  return [...(min === undefined ? [] : [`--min-version=${min}`]), ...(max === undefined ? [] : [`--max-version=${max}`])];
}

test('reference dumps are there', { skip: noVectors }, () => {
  assert.ok(goodVectors().length >= 7 && badVectors().length >= 7);
});

for (const vector of goodVectors()) {
  test(`${vector.name} ${rangeOptions(vector).join(' ')}: the image of the reference tool, from a file and through pipes`, () => {
    writeFileSync(at('dump'), vector.dump);
    const options = ['mkfs', '--from-file', ...rangeOptions(vector)];
    assertDone(asUser(...options, '--print-digest', at('dump'), at('image.cfs')), `${vector.fsverity}\n`);
    const image = readFileSync(at('image.cfs'));
    assert.deepEqual([sha256(image), image.length], [vector.sha256, vector.size]);
    const piped = spawnSync(CFSCTL, [...options, '-', '-'], { input: vector.dump, maxBuffer: 2 ** 28 });
    assert.equal(sha256(piped.stdout), vector.sha256);
    assertDone(asUser(...options, '--print-digest-only', at('dump')), `${vector.fsverity}\n`);
  });
}

for (const [name, dump] of badVectors()) {
  test(`${name}: refused with line and rule, and the old image stays`, () => {
    writeFileSync(at('dump'), dump);
    writeFileSync(at('old.cfs'), 'old');
    const outcome = asUser('mkfs', '--from-file', at('dump'), at('old.cfs'));
    assertRefused(outcome, /^cfsctl: .*dump: line \d+, column \d+: .* \([a-z-]+\)\n/);
    assert.equal(readFileSync(at('old.cfs'), 'utf8'), 'old');
  });
}
