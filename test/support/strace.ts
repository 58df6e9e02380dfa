// Faults in a live daemon: strace makes one system call fail, or stops or kills the process there. And what it calls, to the letter.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { eventually } from './daemon.js';

/** How long strace may take to let go of all threads. Milliseconds. */
const STRACE_END = 5_000;

export interface Fault {
  /** Lines that strace printed: empty when the call never came. */
  hits(): string[];
  detach(): Promise<void>;
}

/** Attaches to all threads. `action`: as in strace(1), `error=EIO` or `signal=SIGKILL`; `when` counts the calls of each thread. */
export async function injectFault(pid: number, syscall: string, action: string, when: string): Promise<Fault> {
  const args = ['-f', '-qq', '-e', `trace=${syscall}`, '-e', `inject=${syscall}:${action}:when=${when}`, '-p', String(pid)];
  const child: ChildProcess = spawn('strace', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let output = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (output += text));
  await isAttached(pid, child);
  return {
    hits: () => output.split('\n').filter((line) => line.includes('(INJECTED)') || line.includes('+++ killed by')),
    detach: () => end(child),
  };
}

export interface Trace {
  /** Whether the text stands in what has been recorded so far. */
  hasSeen(text: string): boolean;
  /** Ends it; returns the calls, as strace(1) prints them, of each thread and child by its number. */
  finish(): Promise<ReadonlyMap<number, readonly string[]>>;
}

/** Records system calls of all threads, and of the children that are started. */
export async function traceCalls(pid: number, syscalls: readonly string[], inject: readonly string[] = []): Promise<Trace> {
  const directory = mkdtempSync(join(tmpdir(), 'cfsmountd-trace-'));
  const faults = inject.flatMap((fault) => ['-e', `inject=${fault}`]);
  // A file for each thread: else one call's line may stand in the middle of another's.
  const output = ['-ff', '-o', join(directory, 'trace')];
  const args = ['-f', '-qq', ...output, '-e', `trace=${syscalls.join(',')}`, ...faults, '-p', String(pid)];
  const child = spawn('strace', args, { stdio: ['ignore', 'ignore', 'inherit'] });
  await isAttached(pid, child);
  const read = (): [thread: number, lines: string[]][] =>
    readdirSync(directory).map((name) => {
      const lines = readFileSync(join(directory, name), 'latin1').split('\n').slice(0, -1);
      return [Number(name.slice('trace.'.length)), lines];
    });
  return {
    hasSeen: (text) => read().some(([, lines]) => lines.some((line) => line.includes(text))),
    async finish() {
      await end(child);
      const recorded = new Map(read());
      rmSync(directory, { recursive: true });
      return recorded;
    },
  };
}

async function end(strace: ChildProcess): Promise<void> {
  if (strace.exitCode !== null || strace.signalCode !== null) return;
  strace.kill('SIGINT');
  // Of a process that is just dying it waits for the first thread alone, which is not over before the others have been waited for.
  const impatience = setTimeout(() => strace.kill('SIGKILL'), STRACE_END);
  await once(strace, 'exit');
  clearTimeout(impatience);
}

async function isAttached(pid: number, child: ChildProcess): Promise<void> {
  await eventually('strace is attached', () => {
    if (child.exitCode !== null) throw new Error(`strace ended with ${child.exitCode}`);
    return readdirSync(`/proc/${pid}/task`).every((task) => {
      const tracer = /^TracerPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/task/${task}/status`, 'latin1'))?.[1];
      return tracer === String(child.pid);
    });
  });
}
