// Where a mount can be attached: in a user namespace of one's own, with a mount namespace that belongs to it.
import { readFileSync } from 'node:fs';
import { SyscallError, isErrno } from '../core/kernel/error.js';
import type { OwnedFd } from '../core/kernel/fd.js';
import { O_RDONLY, openPath } from '../core/kernel/file.js';
import { owningUserns } from '../core/kernel/namespace.js';
import { statFd } from '../core/kernel/stat.js';
import { RequestError } from '../core/wire/errors.js';

/** Inode of the initial user namespace, the same in every kernel since 3.8 (linux/proc_ns.h PROC_USER_INIT_INO). */
const INITIAL_USERNS_INODE = 0xefff_fffdn;
/** linux/capability.h */
const CAP_SYS_ADMIN = 21n;

/** The user namespace of this process, open for reading. */
export function openOwnUserns(): OwnedFd {
  return openNamespace('user');
}

export interface Surroundings {
  readonly inInitialUserns: boolean;
  /** The mount namespace belongs to the user namespace, and not to one above it. */
  readonly ownsMountNamespace: boolean;
  readonly mayMount: boolean;
}

export function readSurroundings(): Surroundings {
  using userns = openOwnUserns();
  using mounts = openNamespace('mnt');
  return {
    inInitialUserns: statFd(userns).inode === INITIAL_USERNS_INODE,
    ownsMountNamespace: isOwnedHere(mounts),
    mayMount: ((effectiveCapabilities() >> CAP_SYS_ADMIN) & 1n) === 1n,
  };
}

const WHERE_TO_RUN = [
  'with podman: podman unshare cfsctl mount …',
  'without: unshare -Urm, then cfsctl mount … in that shell (a mount lives as long as its namespace)',
].join('\n');

/** Throws `RequestError` BadUserNamespace that says what to run, where nothing that the service sends could be attached. */
export function requireMountableSurroundings(
  { inInitialUserns, ownsMountNamespace, mayMount }: Surroundings = readSurroundings(),
): void {
  const problem = inInitialUserns
    ? 'images are mounted inside a user namespace of the caller, and this is the initial one'
    : !ownsMountNamespace
      ? 'this user namespace has no mount namespace of its own'
      : !mayMount
        ? 'this process may not mount in its user namespace (no CAP_SYS_ADMIN)'
        : undefined;
  if (problem !== undefined) throw new RequestError('BadUserNamespace', problem, { hint: WHERE_TO_RUN });
}

/** The same for what is of use in podman's namespace alone; `command` is what to run there. */
export function requirePodmanNamespace(command: string): void {
  try {
    requireMountableSurroundings();
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    throw new RequestError(error.code, error.message, { hint: `podman unshare cfsctl ${command} …`, cause: error });
  }
}

function openNamespace(name: 'user' | 'mnt'): OwnedFd {
  try {
    return openPath(`/proc/self/ns/${name}`, O_RDONLY);
  } catch (cause) {
    if (!(cause instanceof SyscallError)) throw cause;
    throw new RequestError('Failed', `/proc/self/ns/${name} cannot be opened (${cause.code})`, { hint: 'mount /proc', cause });
  }
}

/** The kernel shows the owner of a namespace only where that is our own user namespace, or one below it; else EPERM. */
function isOwnedHere(namespace: OwnedFd): boolean {
  try {
    using _owner = owningUserns(namespace);
    return true;
  } catch (error) {
    if (isErrno(error, 'EPERM')) return false;
    throw error;
  }
}

function effectiveCapabilities(): bigint {
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  return BigInt(`0x${mask ?? '0'}`);
}
