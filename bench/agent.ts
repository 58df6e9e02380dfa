// Processes that measure on behalf of the benchmark: a privileged one, or a user in a user namespace of its own. Each loop runs inside one
// of them, so that the pipe between it and the benchmark is in no figure.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What a process can be asked: functions of one JSON-able value. */
// oxlint-disable-next-line typescript/no-explicit-any -- a parameter of type unknown would take no narrower function
export type Operations = Record<string, (argument: any) => unknown>;

export interface Agent<T extends Operations> {
  readonly pid: number;
  ask<K extends keyof T & string>(operation: K, argument: Parameters<T[K]>[0]): Promise<Awaited<ReturnType<T[K]>>>;
  stop(): Promise<void>;
}

interface Question {
  readonly operation: string;
  readonly argument: unknown;
}
interface Answer {
  readonly value?: unknown;
  readonly error?: string;
}

const HERE = dirname(fileURLToPath(import.meta.url));

/** Command that becomes a user without privilege in a new user and mount namespace, where the user is root. */
export function asUser(uid: number): readonly [string, ...string[]] {
  return ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--', 'unshare', '-U', '-r', '-m'];
}

/** Root, with mounts of its own that go when it goes. */
export const AS_ROOT = ['unshare', '-m'] as const;

/** Starts `script` (a module of this folder) under a command, and waits until it stands. Questions are asked one after the other. */
export async function startAgent<T extends Operations>(
  command: readonly [string, ...string[]],
  script: string,
): Promise<Agent<T>> {
  const [program, ...args] = command;
  const child = spawn(program, [...args, process.execPath, join(HERE, script)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    cwd: '/',
  });
  await nextMessage(child, script);
  return {
    pid: child.pid!,
    async ask(operation, argument) {
      child.send({ operation, argument } satisfies Question);
      const { value, error } = await nextMessage(child, script);
      if (error !== undefined) throw new Error(`${script} ${operation}: ${error}`);
      return value as never;
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.disconnect();
      await once(child, 'exit');
    },
  };
}

function nextMessage(child: ChildProcess, script: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const settle = (end: () => void): void => {
      child.off('message', onMessage).off('exit', onExit).off('error', onError);
      end();
    };
    const onMessage = (message: unknown): void => settle(() => resolve(message as Answer));
    const onExit = (code: number | null): void => settle(() => reject(new Error(`${script} ended with ${code}`)));
    const onError = (error: Error): void => settle(() => reject(error));
    child.on('message', onMessage).on('exit', onExit).on('error', onError);
  });
}

/** The process's own side: answers questions until the benchmark is gone. */
export function serveAgent(operations: Operations): void {
  process.on('message', ({ operation, argument }: Question) => {
    Promise.resolve()
      .then(() => operations[operation]!(argument))
      .then(
        (value) => process.send!({ value }),
        (error: unknown) => process.send!({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
      );
  });
  process.on('disconnect', () => process.exit(0));
  process.send!({});
}

/** Microseconds that a step takes, by the monotonic clock. */
export function microsecondsOf(step: () => void): number {
  const started = process.hrtime.bigint();
  step();
  return Number(process.hrtime.bigint() - started) / 1000;
}
