// Waits for a process to have done what it still does in the background: an answer says nothing of that.
import { readdirSync, readFileSync } from 'node:fs';

import { eventually } from './daemon.js';

/** Milliseconds without a step of any thread. */
const QUIET = 200;

/** Context switches of all threads so far, and the threads there are. */
function countSwitches(pid: number): string {
  const tasks = readdirSync(`/proc/${pid}/task`).map((task) => {
    try {
      return (
        readFileSync(`/proc/${pid}/task/${task}/status`, 'latin1')
          .match(/ctxt_switches:\t\d+/g)
          ?.join() ?? ''
      );
    } catch {
      return ''; // it has ended
    }
  });
  return tasks.join();
}

/** Returns when no thread of the process has run for a while. */
export async function settleDown(pid: number): Promise<void> {
  let last = '';
  let since = 0;
  await eventually('the process comes to rest', () => {
    const now = countSwitches(pid);
    if (now !== last) since = Date.now();
    last = now;
    return Date.now() - since >= QUIET;
  });
}
