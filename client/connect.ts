import { SyscallError, isErrno } from '../core/kernel/error.js';
import type { OwnedFd } from '../core/kernel/fd.js';
import { connectStream } from '../core/kernel/socket.js';
import { RequestError } from '../core/wire/errors.js';
import { type Address, formatAddress, parseAddress } from './address.js';
import { type Connection, openConnection } from './connection.js';
import { type Deadline, deadlineIn, pause } from './deadline.js';
import { NoService, START_HINT } from './remote-error.js';

export interface ConnectOptions {
  /** `unix:path=…`, `unix:abstract=…`, `bus:unix:path=…` or `system`. Default: the service's own socket, then the system bus. */
  readonly address?: string | undefined;
  /** For the connection and for each call, in milliseconds; 60,000 unless told. */
  readonly timeoutMs?: number | undefined;
}

export const DEFAULT_TIMEOUT_MS = 60_000;

/** Connects to the first socket that can be had. Throws `RequestError` that says what was tried. */
export function openService({ address, timeoutMs = DEFAULT_TIMEOUT_MS }: ConnectOptions = {}): {
  connection: Connection;
  address: Address;
} {
  const deadline = deadlineIn(timeoutMs);
  const failures: Failure[] = [];
  for (const candidate of parseAddress(address)) {
    const socket = tryConnect(candidate, deadline, failures);
    if (socket === undefined) continue;
    return { connection: openConnection(socket, { bus: candidate.bus, timeoutMs }), address: candidate };
  }
  const tried = failures.map(({ address: each, code }) => `${formatAddress(each)}: ${REASONS[code] ?? code}`);
  const cause = failures.every(({ code }) => code === 'ENOENT') ? new NoService() : undefined;
  throw new RequestError('Failed', `the service cannot be reached: ${tried.join('; ')}`, { hint: START_HINT, cause });
}

interface Failure {
  readonly address: Address;
  readonly code: string;
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such socket',
  ECONNREFUSED: 'nobody listens',
  EACCES: 'permission denied',
};

function tryConnect(address: Address, deadline: Deadline, failures: Failure[]): OwnedFd | undefined {
  try {
    return connectPatiently(address.socket, deadline);
  } catch (cause) {
    if (cause instanceof TypeError)
      throw new RequestError('BadRequest', 'the socket path of the address is longer than 107 bytes', { cause });
    if (!(cause instanceof SyscallError)) throw cause;
    failures.push({ address, code: cause.code });
    return undefined;
  }
}

function connectPatiently(path: string, deadline: Deadline): OwnedFd {
  for (;;) {
    try {
      return connectStream(path);
    } catch (error) {
      // The queue of the listening socket is full: a Unix socket that does not block cannot be waited for.
      if (!isErrno(error, 'EAGAIN')) throw error;
      pause(Math.min(5, deadline.remaining()));
    }
  }
}
