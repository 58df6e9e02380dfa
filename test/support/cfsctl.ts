// The built cfsctl without a service: as an ordinary user, with all that it prints.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

import { DIST } from './machine.js';
import type { Outcome } from './run-as.js';

export const CFSCTL = join(DIST, 'cfsctl');
const UID = 4712;

/** There is no service at the address it is given. Does not throw for an exit status. */
export function cfsctl(...words: string[]): Outcome {
  const asUser = process.getuid?.() === 0 ? { uid: UID, gid: UID } : {};
  const { status, stdout, stderr, error } = spawnSync(CFSCTL, ['--address', 'unix:path=/nonexistent', ...words], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    cwd: '/',
    timeout: 60_000,
    ...asUser,
  });
  if (error) throw error;
  return { status, stdout, stderr };
}

/** What it prints; fails unless it exits with 0 and says nothing else. */
export function outputOf(...words: string[]): string {
  const { status, stdout, stderr } = cfsctl(...words);
  assert.deepEqual([status, stderr], [0, '']);
  return stdout;
}
