// Runs of a command that are killed at points in time, or at system calls.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import { run } from './machine.js';

export function runWords([command, ...words]: readonly string[]): string {
  return run(command!, ...words);
}

/** True if it was killed before it ended. */
async function killAfter(milliseconds: number, [command, ...words]: readonly string[]): Promise<boolean> {
  const child = spawn(command!, words, { stdio: 'ignore' });
  const exit = once(child, 'exit');
  await sleep(milliseconds);
  child.kill('SIGKILL');
  const [, signal] = (await exit) as [number | null, NodeJS.Signals | null];
  return signal === 'SIGKILL';
}

/** Milliseconds of an undisturbed run: the median of three. */
function timeRun(prepare: () => void, words: readonly string[]): number {
  const times = [1, 2, 3].map(() => {
    prepare();
    const start = performance.now();
    runWords(words);
    return performance.now() - start;
  });
  return times.sort((a, b) => a - b)[1]!;
}

/** Runs until so many runs were killed on their way, each looked at by `look`. How long a run takes changes with what else the machine does: this follows. */
export async function killTimes(
  kills: number,
  words: readonly string[],
  prepare: (kill: number) => void,
  look: () => void,
): Promise<void> {
  let duration = timeRun(() => prepare(0), words);
  for (let killed = 0, runs = 0; killed < kills; runs += 1) {
    assert.ok(runs < 10 * kills, `${killed} of ${runs} runs were killed`);
    prepare(killed);
    // Until Node has started there is nothing to see, and little until the first objects get their names.
    const early = await killAfter((0.4 + 0.6 * Math.random()) * duration, words);
    duration *= early ? 1.03 : 0.95;
    if (early) killed += 1;
    look();
  }
}

/** Kills a run at its n-th call, in any thread; false if it ended before. */
export function killAtCall(call: string, when: number, words: readonly string[]): boolean {
  const inject = ['-f', '-qq', '-o', '/dev/null', '-e', `trace=${call}`, '-e', `inject=${call}:signal=SIGKILL:when=${when}`];
  const { signal, status } = spawnSync('strace', [...inject, ...words]);
  assert.ok(signal === 'SIGKILL' || status === 0, `${signal} ${status}`);
  return signal === 'SIGKILL';
}
