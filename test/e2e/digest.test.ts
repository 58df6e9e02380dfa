// cfsctl digest: the built program, beside fsverity(1).
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { cfsctl } from '../support/cfsctl.js';
import { run } from '../support/machine.js';
import { assertDone, assertRefused } from '../support/outcome.js';
import { makeScratch } from '../support/scratch.js';

const scratch = makeScratch();
after(() => scratch.remove());

const files = ['/etc/passwd', ...[0, 5000, 50 << 20].map(makeFile)];

function makeFile(size: number): string {
  const path = join(scratch.path, `${size}`);
  writeFileSync(path, randomBytes(size));
  return path;
}

for (const algorithm of ['sha256', 'sha512']) {
  test(`${algorithm}: lines of several files, one of them long, are those of fsverity(1)`, () => {
    const reference = run('fsverity', 'digest', `--hash-alg=${algorithm}`, '--block-size=4096', ...files);
    assertDone(cfsctl('digest', '--algorithm', algorithm, ...files), reference);
  });
}

test('as JSON', () => {
  const rows = JSON.parse(cfsctl('--json', 'digest', files[2]!).stdout) as unknown;
  const digest = run('fsverity', 'digest', '--compact', files[2]!).trim();
  assert.deepEqual(rows, [{ file: files[2], digest: `sha256:${digest}`, size: 5000 }]);
});

test('what is no regular file is refused', () => {
  assertRefused(cfsctl('digest', '/dev/null'), /\/dev\/null is not a regular file/);
  assertRefused(cfsctl('digest', '/proc'), /\/proc is not a regular file/);
  assertRefused(cfsctl('digest', '/nope'), /\/nope cannot be opened \(ENOENT\)/);
});
