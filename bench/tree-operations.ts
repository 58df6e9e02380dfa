// Reading a tree, timed in the process that can see it. All times in microseconds.
import { spawnSync } from 'node:child_process';
import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

import { microsecondsOf } from './agent.js';

export function timeLs(directory: string): number {
  let status: number | null = null;
  const us = microsecondsOf(() => void ({ status } = spawnSync('ls', ['-lR', directory], { stdio: 'ignore' })));
  if (status !== 0) throw new Error(`ls -lR ${directory} exited with ${status}`);
  return us;
}

/** Paths of all files below, relative to the directory, in a fixed order. */
export function listFiles(directory: string): string[] {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return files.map((file) => file.slice(directory.length + 1)).sort();
}

export function lstatFiles({ directory, files }: { directory: string; files: readonly string[] }): number {
  const paths = files.map((file) => `${directory}/${file}`);
  return microsecondsOf(() => {
    for (const path of paths) lstatSync(path);
  });
}
