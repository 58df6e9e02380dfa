// Who calls, in polkit's words: a name on the bus, or a process that cannot be mistaken for a later one with its pid.
import { readFileSync } from 'node:fs';

import { isErrno } from '../core/kernel/error.js';
import type { OwnedFd } from '../core/kernel/fd.js';
import { waitReady } from '../core/kernel/poll.js';
import { type Dict, variant } from '../core/wire/variants.js';
import type { Caller, Subject } from './transport/peer.js';

/** A refusal on its way to the caller. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly hint: string;

  constructor(because: string, hint: string, cause?: unknown) {
    super(because, { cause });
    this.hint = hint;
  }
}

interface DescribedSubject {
  /** `(sa{sv})` of polkit. */
  readonly subject: readonly [kind: string, details: Dict];
  readonly fds: readonly OwnedFd[];
}

/** The descriptors are for the call. Throws Refusal if the process cannot be told for sure. */
export function describeSubject({ subject, uid }: Caller): DescribedSubject {
  if (subject.kind === 'bus-name') return { subject: ['system-bus-name', [['name', variant('s', subject.name)]]], fds: [] };
  const { pid, startTime, pidfd } = identifyProcess(subject);
  const process: Dict = [
    // Polkit 124 and later looks at the pidfd alone, an older one at the rest. The uid is given, so that a set-uid program that the caller becomes does not count.
    ['pidfd', variant('h', 0)],
    ['pid', variant('u', pid)],
    ['start-time', variant('t', startTime)],
    ['uid', variant('i', uid)],
  ];
  return { subject: ['unix-process', process], fds: [pidfd] };
}

/** What tells the peer from a later process with its pid: the pidfd is of the one that connected, and while that lives, so are pid and start time. */
function identifyProcess({ pid, openPidfd }: Extract<Subject, { kind: 'process' }>): {
  pid: number;
  startTime: bigint;
  pidfd: OwnedFd;
} {
  const pidfd = orEnded(openPidfd);
  if (pidfd === undefined)
    throw new Refusal('the kernel does not say which process calls', 'call over the system bus: cfsctl --address system');
  try {
    const startTime = readStartTime(pid);
    if (startTime !== undefined && !waitReady(pidfd, 'readable', 0)) return { pid, startTime, pidfd };
  } catch (error) {
    pidfd.close();
    throw error;
  }
  pidfd.close();
  throw hasEnded();
}

function hasEnded(cause?: unknown): Refusal {
  return new Refusal('the process that connected has ended', 'ask polkit from the process that made the connection', cause);
}

/** Before Linux 6.16 there is no pidfd of a process that has been reaped. */
function orEnded(open: () => OwnedFd | undefined): OwnedFd | undefined {
  try {
    return open();
  } catch (cause) {
    throw isErrno(cause, 'EINVAL', 'ESRCH') ? hasEnded(cause) : cause;
  }
}

/** In clock ticks since boot: field 22 of proc(5), behind the name, which may hold anything. */
function readStartTime(pid: number): bigint | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
  return BigInt(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '');
}
