// The daemon under what cfsmountd.service takes from it, as far as that works without a service manager: capabilities, system calls, address
// families, namespaces, network. What the unit does to the file system is tested with systemd itself (test/package).
import { chmodSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { compileProgram } from './compile.js';
import { DIST, ROOT, run } from './machine.js';

const UNIT = readFileSync(join(ROOT, 'systemd/cfsmountd.service.in'), 'utf8');

/** All values of a setting of the unit, in the order they stand there. */
function valuesOf(setting: string): string[] {
  const lines = [...UNIT.matchAll(new RegExp(`^${setting}=(.*)$`, 'gm'))];
  if (lines.length === 0) throw new Error(`the unit has no ${setting}=`);
  return lines.flatMap((match) => match[1]!.split(' '));
}

/** CAP_…, as the unit keeps them. */
export const CAPABILITIES: readonly string[] = valuesOf('CapabilityBoundingSet');

function expandGroup(name: string): string[] {
  if (!name.startsWith('@')) return [name];
  const lines = run('systemd-analyze', '--no-pager', 'syscall-filter', name).split('\n').slice(1);
  return lines.map((line) => line.trim()).flatMap((line) => (/^[@a-z]/.test(line) ? expandGroup(line) : []));
}

/** C that names the numbers of the calls which this architecture has. */
function allowedNumbers(): string {
  const names = new Set(valuesOf('SystemCallFilter').flatMap(expandGroup));
  return [...names].map((name) => `#ifdef SYS_${name}\nSYS_${name},\n#endif\n`).join('');
}

/** Fails when the unit has come to say what is not imitated here. */
function requireKnownUnit(): void {
  const expected: [setting: string, value: string][] = [
    ['RestrictAddressFamilies', 'AF_UNIX'],
    ['RestrictNamespaces', 'user mnt'],
    ['SystemCallErrorNumber', 'EPERM'],
    ['PrivateNetwork', 'yes'],
    ['PrivateIPC', 'yes'],
    ['ProtectHostname', 'yes'],
  ];
  for (const [setting, value] of expected) {
    if (valuesOf(setting).join(' ') !== value) throw new Error(`the unit says another ${setting}= than confine.c imitates`);
  }
}

/** Makes a directory with the programs in which the daemon is confined; to be used as CFSMOUNTD_DIST. */
export function confinePrograms(directory: string, capabilities: readonly string[] = CAPABILITIES): string {
  requireKnownUnit();
  mkdirSync(directory, { recursive: true });
  const allowed = join(directory, 'allowed.inc');
  writeFileSync(allowed, allowedNumbers());
  const confine = join(directory, 'confine');
  compileProgram(join(ROOT, 'test/support/confine.c'), confine, `-DALLOWED="${allowed}"`);
  for (const name of readdirSync(DIST).filter((one) => one !== 'cfsmountd')) symlinkSync(join(DIST, name), join(directory, name));
  const bounds = ['-all', ...capabilities.map((name) => name.replace(/^CAP_/, '+').toLowerCase())].join(',');
  const words = `unshare --net --ipc --uts -- setpriv --bounding-set=${bounds} -- '${confine}' '${join(DIST, 'cfsmountd')}'`;
  writeFileSync(join(directory, 'cfsmountd'), `#!/bin/sh\nexec ${words} "$@"\n`);
  chmodSync(join(directory, 'cfsmountd'), 0o755);
  return directory;
}
