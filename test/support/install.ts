// The project as `make install` puts it somewhere.
import { spawnSync } from 'node:child_process';

import { ROOT } from './machine.js';

/** Variables of the Makefile: DESTDIR, PREFIX, SYSCONFDIR, NODE. Throws with what make said. */
export function makeInstall(variables: Readonly<Record<string, string>>): void {
  const { MAKEFLAGS: _flags, MAKELEVEL: _level, ...env } = process.env; // of the make that runs the tests
  const words = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  const { status, stdout, stderr } = spawnSync('make', ['-s', '-C', ROOT, 'install', ...words], { encoding: 'utf8', env });
  if (status !== 0) throw new Error(`make install ${words.join(' ')} exited with ${status}\n${stdout}${stderr}`);
}
