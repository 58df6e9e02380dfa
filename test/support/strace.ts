// Faults in a live daemon: strace makes one system call fail, or kills the process there.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';

import { eventually } from './daemon.js';

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
    async detach() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGINT');
      await once(child, 'exit');
    },
  };
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
