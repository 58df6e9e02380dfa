// podman as a program: where it is, and what it says.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

const TIMEOUT = 60_000;
const MAX_OUTPUT = 2 ** 24;

export type Asked = { readonly stdout: string } | { readonly because: string };

/** What a run of podman prints, or the last line of what it complains of. */
export function askPodman(...words: string[]): Asked {
  const { status, stdout, stderr, error } = spawnSync('podman', words, {
    encoding: 'utf8',
    timeout: TIMEOUT,
    maxBuffer: MAX_OUTPUT,
  });
  if (error) return { because: (error as NodeJS.ErrnoException).code ?? error.message };
  if (status === 0) return { stdout };
  return { because: stderr.trim().split('\n').at(-1) ?? `exit status ${status}` };
}

/** Its path, by PATH. */
export function findProgram(name: string, path = process.env['PATH'] ?? ''): string | undefined {
  return path
    .split(delimiter)
    .filter((directory) => directory !== '')
    .map((directory) => join(directory, name))
    .find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
