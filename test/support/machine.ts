// What privileged tests need of the machine. One that should run and cannot is a failure in CI, never a silent skip.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { DEFAULT_REPOSITORIES } from '../../client/repository/defaults.js';
import { O_DIRECTORY, O_RDONLY, openPath } from '../../core/kernel/file.js';
import { measureVerity } from '../../core/kernel/verity.js';

/** Root of the checkout: this file is build/test/support/machine.js when it runs. */
export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');

/** Where the built programs are; another build is put here to show that a test fails without a defence. */
export const DIST = process.env['CFSMOUNTD_DIST'] ?? join(ROOT, 'dist');

/** How many times longer than on a real machine something may take: an emulated one is slow. What must not take longer is not multiplied. */
export const PATIENCE = Number(process.env['CFSMOUNTD_TEST_PATIENCE'] ?? 1);

/** Sample images and vectors that are not part of the project. */
export const SHARED = resolve(ROOT, process.env['CFS_SHARED'] ?? '../shared');

/** For node:test's `skip`: false, or why the sample is not there. Said loudly; the product does not need it. */
export function withoutSample(): string | false {
  if (existsSync(join(SHARED, 'sample/sample.cfs'))) return false;
  console.error(`NOTE: no sample image in ${SHARED} (set CFS_SHARED); the tests that need it do not run`);
  return 'no sample image; set CFS_SHARED';
}

/** Fails the process when privileged tests were asked for and cannot run. */
export function requirePrivileges(): void {
  if (process.getuid?.() !== 0) throw new Error('these tests mount file systems and must run as root: sudo make test');
  for (const path of DEFAULT_REPOSITORIES.filter((one) => existsSync(one))) {
    using repository = openPath(path, O_RDONLY | O_DIRECTORY);
    if (measureVerity(repository).state !== 'unsupported') continue;
    throw new Error(
      `every service looks into ${path}, which has no fs-verity here, and so would those of the tests: move it away`,
    );
  }
}

/** Runs a command to its end; throws with its output unless it exits with 0. */
export function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 2 ** 28 });
  if (error) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} exited with ${status}\n${stdout}${stderr}`);
  return stdout;
}
