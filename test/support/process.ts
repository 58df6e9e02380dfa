// A program in the background, whatever it is started by, and what it says.
import { type ChildProcess, spawn, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';

import { eventually } from './daemon.js';

export interface Background {
  readonly process: ChildProcess;
  stderr(): string;
  /** Waits until the text is on its standard error; fails if it ends before. */
  says(text: string): Promise<void>;
  /** Its exit status, or the signal that ended it; sends a signal first if one is given. */
  ended(signal?: NodeJS.Signals): Promise<number | NodeJS.Signals>;
}

/** `fds` become descriptors 3 and up. */
export function startInBackground(
  command: readonly string[],
  env: Readonly<Record<string, string>>,
  fds: readonly number[] = [],
): Background {
  const [program, ...words] = command;
  const stdio: StdioOptions = ['ignore', 'ignore', 'pipe', ...fds];
  const child = spawn(program!, words, { stdio, env: { PATH: process.env['PATH'], ...env } });
  const exit = once(child, 'exit');
  let stderr = '';
  (child.stdio[2] as NodeJS.ReadableStream).setEncoding('utf8').on('data', (text: string) => (stderr += text));
  return {
    process: child,
    stderr: () => stderr,
    says: (text) =>
      eventually(
        `it says ${text}`,
        () => {
          if (stderr.includes(text)) return true;
          if (child.exitCode !== null) throw new Error(`ended with ${child.exitCode}: ${stderr}`);
          return false;
        },
        30_000,
      ),
    async ended(signal) {
      if (signal !== undefined && child.exitCode === null && child.signalCode === null) child.kill(signal);
      await eventually('it ends', () => child.exitCode !== null || child.signalCode !== null, 30_000);
      await exit;
      return child.exitCode ?? child.signalCode!;
    },
  };
}
