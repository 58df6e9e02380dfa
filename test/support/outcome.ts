// What became of a command.
import assert from 'node:assert/strict';

import type { Outcome } from './run-as.js';

/** Exit status 0, nothing on standard error, and this on standard output. */
export function assertDone({ status, stdout, stderr }: Outcome, output: string | RegExp): void {
  assert.deepEqual([status, stderr], [0, '']);
  if (typeof output === 'string') assert.equal(stdout, output);
  else assert.match(stdout, output);
}

/** Exit status 1, nothing on standard output, and one message, with or without a hint. */
export function assertRefused({ status, stdout, stderr }: Outcome, pattern: RegExp): void {
  assert.match(stderr, pattern);
  assert.deepEqual([status, stdout], [1, '']);
  assert.match(stderr, /^cfsctl: [^\n]+\n( {2}hint: [^\n]+\n)?$/);
}
