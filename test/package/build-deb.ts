import { spawnSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { VERSION } from '../../core/wire/version.js';
import { ROOT } from '../support/machine.js';

export type Architecture = 'amd64' | 'arm64';

/** Builds the package anew; returns its path. Throws with what was said. */
export function buildDeb(architecture: Architecture, env: Readonly<Record<string, string>> = {}): string {
  const path = join(ROOT, `build/cfsmountd_${VERSION}-1_${architecture}.deb`);
  rmSync(path, { force: true });
  const { status, stderr } = spawnSync(join(ROOT, 'tools/make-deb'), [architecture], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  if (status !== 0 || !existsSync(path)) throw new Error(`make-deb ${architecture} exited with ${status}\n${stderr}`);
  return path;
}
