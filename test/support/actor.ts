// A process of another user that does what a test tells it: an honest caller or a hostile one, as the kernel sees it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { ROOT } from './machine.js';
import type { Kit } from './kit.js';
import { eventually } from './daemon.js';

export interface ActorOptions {
  readonly uid: number;
  /** Supplementary groups. */
  readonly groups?: readonly number[];
  /**
   * 'none': stays in the initial user namespace. 'single': a new user and mount namespace with one id, root (unshare -Urm).
   * 'many': root is the user, 1… are `subordinate`… on the host, as in `podman unshare`.
   */
  readonly namespace?: 'none' | 'single' | 'many';
  readonly subordinate?: number;
  /** Joins the user namespace of this process instead, as its root, with a mount namespace of its own. */
  readonly join?: number;
  /** Descriptors it is given, as 4 and on. */
  readonly inherit?: readonly number[];
  /** Started by these words instead, which make of it whom `uid` names, in whatever namespaces: `podman unshare`. */
  readonly through?: readonly string[];
}

export interface Actor {
  readonly pid: number;
  readonly process: ChildProcess;
  /**
   * Runs a function in the actor. Its source is sent, so it sees nothing but its arguments: the kit (all modules a caller could use),
   * and a JSON-able value. It may not use `using`. What it returns comes back as JSON; a throw comes back as an Error with name, code and message.
   */
  do<A, R>(step: (kit: Kit, argument: A) => R | Promise<R>, argument: A): Promise<R>;
  stop(): Promise<void>;
}

interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: { name: string; message: string; code?: string; hint?: string };
}

const MAIN = join(ROOT, 'build/test/support/actor-main.js');

function identity({ uid, groups = [] }: ActorOptions): string[] {
  const list = groups.length > 0 ? `--groups=${groups.join(',')}` : '--clear-groups';
  return ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, list, '--'];
}

/** A namespace like podman's: made by the user, its maps written by root, as newuidmap would. */
async function startManyIds(options: ActorOptions): Promise<{ command: string[]; holder: ChildProcess }> {
  const [program, ...args] = [...identity(options), 'unshare', '--user', '--mount', 'sleep', 'infinity'];
  const holder = spawn(program!, args, { stdio: 'ignore' });
  const own = `/proc/self/ns/user`;
  const { readlinkSync } = await import('node:fs');
  await eventually('the namespace is made', () => {
    try {
      return readlinkSync(`/proc/${holder.pid}/ns/user`) !== readlinkSync(own);
    } catch {
      return false;
    }
  });
  const map = `0 ${options.uid} 1\n1 ${options.subordinate ?? 100000} 65535\n`;
  writeFileSync(`/proc/${holder.pid}/uid_map`, map);
  writeFileSync(`/proc/${holder.pid}/gid_map`, map);
  return { command: ['nsenter', '-U', '-m', '-t', String(holder.pid), '-S', '0', '-G', '0'], holder };
}

export async function startActor(options: ActorOptions): Promise<Actor> {
  const kind = options.namespace ?? 'single';
  const many = kind === 'many' ? await startManyIds(options) : undefined;
  const join =
    options.join === undefined ? undefined : ['nsenter', '-U', '-t', String(options.join), '-S', '0', '-G', '0', 'unshare', '-m'];
  const enter = kind === 'single' ? ['unshare', '-U', '-r', '-m'] : [];
  const through = options.through ?? join ?? many?.command ?? [...identity(options), ...enter];
  const [program, ...args] = [...through, process.execPath, MAIN];
  const child = spawn(program!, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...(options.inherit ?? [])], cwd: '/' });
  const waiting = new Map<number, (answer: Answer) => void>();
  let nextId = 1;
  child.on('message', (answer) => {
    const { id } = answer as Answer;
    waiting.get(id)?.(answer as Answer);
    waiting.delete(id);
  });
  child.on('exit', () => {
    for (const [id, settle] of waiting) settle({ id, error: { name: 'Error', message: 'the actor ended' } });
    waiting.clear();
  });
  const [{ pid }] = (await once(child, 'message')) as [{ pid: number }]; // it says when it stands
  return {
    pid,
    process: child,
    do: (step, argument) =>
      new Promise((resolve, reject) => {
        const id = nextId++;
        waiting.set(id, ({ value, error }) => {
          if (error) reject(Object.assign(new Error(error.message), error));
          else resolve(value as never);
        });
        child.send({ id, source: step.toString(), argument });
      }),
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        process.kill(pid, 'SIGKILL'); // what it was started through ends with it
        await once(child, 'exit');
      }
      many?.holder.kill('SIGKILL');
    },
  };
}
