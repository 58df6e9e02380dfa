import { realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Where the built program has the script of its threads: beside itself, also if it was started through a symlink. */
export function workerScript(): string {
  return join(dirname(realpathSync(process.argv[1] ?? '.')), 'cfsctl-worker.cjs');
}
