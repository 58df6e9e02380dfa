// A hostile caller that turns on the service's helper: test/support/hunter.c, run in the caller's user namespace.
import { join } from 'node:path';

import type { Actor } from './actor.js';
import { compileProgram } from './compile.js';
import { ROOT } from './machine.js';

export type HuntMode = 'stop' | 'stop-late' | 'kill' | 'inspect';
export interface Catch {
  readonly pid: number;
  readonly [ability: string]: number;
}

/** Compiles the program into a directory everybody can enter; returns its path. */
export function buildHunter(directory: string): string {
  const program = join(directory, 'hunter');
  compileProgram(join(ROOT, 'test/support/hunter.c'), program, '-O2');
  return program;
}

export async function startHunt(actor: Actor, program: string, mode: HuntMode): Promise<void> {
  await actor.do(
    async ({ store }, { program, mode }) => {
      const { spawn } = await import('node:child_process');
      const child = spawn(program, [mode], { stdio: ['ignore', 'pipe', 'inherit'] });
      const hunt = { child, output: '' };
      store['hunt'] = hunt;
      await new Promise<void>((resolve) => {
        child.stdout.setEncoding('utf8').on('data', (text: string) => {
          hunt.output += text;
          resolve();
        });
      });
    },
    { program, mode },
  );
}

/** What of a process an actor can reach: 1 for each ability it has. */
export async function inspectProcess(actor: Actor, program: string, pid: number): Promise<Catch> {
  const output = await actor.do(
    async (_, { program, pid }) => {
      const { execFileSync } = await import('node:child_process');
      return execFileSync(program, ['inspect', String(pid)], { encoding: 'utf8' });
    },
    { program, pid },
  );
  return JSON.parse(output) as Catch;
}

/** Ends the hunt; returns what was caught. */
export async function endHunt(actor: Actor): Promise<Catch[]> {
  const output = await actor.do(async ({ store }) => {
    const hunt = store['hunt'] as {
      child: { kill(signal: string): void; once(event: string, done: () => void): void };
      output: string;
    };
    await new Promise<void>((resolve) => {
      hunt.child.once('close', resolve);
      hunt.child.kill('SIGKILL');
    });
    return hunt.output;
  }, null);
  return output
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Catch);
}
