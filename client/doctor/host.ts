// What rootless containers need of the host, whoever runs them.
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../ask-podman.js';
import { type Finding, fail, ok, warn } from './finding.js';
import { type User, judgeSubordinates } from './subordinates.js';

export function checkHost(user: User): Finding[] {
  return [
    judgeNamespaces(readSetting),
    ...judgeSubordinates(
      { subuid: readText('/etc/subuid'), subgid: readText('/etc/subgid') },
      user,
      readText('/etc/nsswitch.conf'),
    ),
    judgeMapper('newuidmap'),
    judgeMapper('newgidmap'),
  ];
}

/** The settings are those of Linux, of Debian, and of Ubuntu. */
export function judgeNamespaces(setting: (name: string) => string | undefined): Finding {
  const check = 'user namespaces';
  if (setting('user/max_user_namespaces') === '0')
    return fail(check, 'there may be none', 'sudo sysctl -w user.max_user_namespaces=15000, and the same in /etc/sysctl.d');
  if (setting('kernel/unprivileged_userns_clone') === '0')
    return fail(check, 'users may make none', 'sudo sysctl -w kernel.unprivileged_userns_clone=1, and the same in /etc/sysctl.d');
  if (setting('kernel/apparmor_restrict_unprivileged_userns') === '1')
    return warn(
      check,
      'only programs with an AppArmor profile may make them',
      'podman of the distribution has one; others need one',
    );
  return ok(check, 'users may make them');
}

function judgeMapper(program: string): Finding {
  const path = findProgram(program);
  if (path === undefined) return fail(program, 'is not installed', 'sudo apt install uidmap (dnf: shadow-utils)');
  const { uid, mode } = statSync(path);
  if (uid === 0 && (mode & 0o4000) !== 0) return ok(program, `${path}, set-user-ID`);
  // What capabilities a file has, only root sees everywhere; whether it is enough, podman itself says below.
  return ok(program, path);
}

function readSetting(name: string): string | undefined {
  return readText(join('/proc/sys', name))?.trim();
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
