// The program that runs in a caller's user namespace (core/kernel/park.c), started by a test as the service would start it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';

import { eventually, readStatus } from './daemon.js';
import { DIST } from './machine.js';

export interface ParkProcess {
  readonly pid: number;
  /** Lets it go on if it stands still, closes its input, and returns its exit status. */
  end(): Promise<number | null>;
}

/** Stops the program right after its nth call of a system call, and leaves it there with nobody tracing it. */
export interface StopAfter {
  readonly syscall: string;
  readonly nth: number;
}

/** strace as the parent's grandchild: the program itself stays our child. */
function stoppingAt({ syscall, nth }: StopAfter): string[] {
  return ['strace', '-D', '-qq', '-e', `trace=${syscall}`, '-e', `inject=${syscall}:signal=SIGSTOP:when=${nth}`];
}

async function stopped(child: ChildProcess): Promise<void> {
  let output = '';
  child.stderr!.setEncoding('latin1').on('data', (text: string) => (output += text));
  await eventually('it has been stopped', () => output.includes('stopped by SIGSTOP'));
  process.kill(Number(readStatus(child.pid!, 'TracerPid')), 'SIGKILL');
  await eventually('nobody traces it', () => readStatus(child.pid!, 'TracerPid') === '0');
}

/**
 * Starts it for the user namespace of a process, with more descriptors than it needs if some are given. Returns when its namespace stands,
 * or when it has stopped.
 */
export async function startPark(owner: number, { stopAfter, extra = [] }: { stopAfter?: StopAfter; extra?: readonly number[] }) {
  const given = [openSync('/proc/self/ns/mnt', 'r'), openSync(`/proc/${owner}/ns/user`, 'r')];
  const groups = ['setpriv', '--groups=1,2,3', '--']; // as root may have them
  const [program, ...args] = [...groups, ...(stopAfter ? stoppingAt(stopAfter) : []), join(DIST, 'cfsmountd-park')];
  const stderr = stopAfter ? 'pipe' : 'ignore';
  const child = spawn(program!, args, { stdio: ['pipe', 'pipe', stderr, ...given, ...extra], env: {}, cwd: '/' });
  for (const fd of given) closeSync(fd);
  await (stopAfter ? stopped(child) : once(child.stdout!, 'data'));
  return {
    pid: child.pid!,
    async end() {
      const exit = once(child, 'exit');
      child.kill('SIGCONT');
      child.stdin!.destroy();
      await exit;
      return child.exitCode;
    },
  } satisfies ParkProcess;
}
