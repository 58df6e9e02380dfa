// Programs of others, run to their end as some user.
import { spawnSync } from 'node:child_process';

import { PATIENCE, ROOT } from './machine.js';

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Words put before the command, below the change of user: `unshare -Urm`. */
  readonly within?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** Does not throw for an exit status: that is what tests look at. At most 60 s, on a real machine. */
export function runAs(uid: number, command: readonly string[], options: RunOptions = {}): Outcome {
  const words = [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--', ...(options.within ?? []), ...command];
  const { status, stdout, stderr, error } = spawnSync('setpriv', words, {
    encoding: 'utf8',
    timeout: 60_000 * PATIENCE,
    cwd: options.cwd ?? ROOT,
    env: { PATH: process.env['PATH'], LC_ALL: 'C.UTF-8', ...options.env },
  });
  if (error) throw error;
  return { status, stdout, stderr };
}

/** As `runAs`; throws unless it exits with 0. */
export function outputAs(uid: number, command: readonly string[], options: RunOptions = {}): string {
  const { status, stdout, stderr } = runAs(uid, command, options);
  if (status !== 0) throw new Error(`${command.join(' ')} (uid ${uid}) exited with ${status}\n${stdout}${stderr}`);
  return stdout;
}
