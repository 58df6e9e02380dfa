// The plugin's socket: the service manager's, or one of its own that nobody else can reach.
import { lstatSync, mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { SyscallError, isErrno } from '../../core/kernel/error.js';
import type { OwnedFd } from '../../core/kernel/fd.js';
import { inheritedFds } from '../../core/kernel/inherited.js';
import { connectStream, listenStream, makeNonBlocking } from '../../core/kernel/socket.js';
import { RequestError } from '../../core/wire/errors.js';

const BACKLOG = 64;
const NOBODY_ELSE = 0o177;

export interface Listener {
  readonly socket: OwnedFd;
  /** The service manager has the socket, and starts the plugin again when somebody calls. */
  readonly activated: boolean;
  /** Closes it, and removes the path if it is the plugin's own. */
  close(): void;
}

/** Throws `RequestError`. */
export function openListener(path: string): Listener {
  // `podman unshare` hands descriptors down, but it is the process that they are meant for.
  const [inherited, ...others] = inheritedFds([process.pid, process.ppid]);
  for (const { fd } of others) fd.close();
  if (inherited !== undefined) {
    makeNonBlocking(inherited.fd);
    return { socket: inherited.fd, activated: true, close: () => inherited.fd.close() };
  }
  const socket = listenAt(path);
  const close = (): void => {
    rmSync(path, { force: true });
    socket.close();
  };
  return { socket, activated: false, close };
}

function listenAt(path: string): OwnedFd {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    removeStaleSocket(path);
    const before = process.umask(NOBODY_ELSE);
    try {
      return listenStream(path, BACKLOG);
    } finally {
      process.umask(before);
    }
  } catch (cause) {
    if (cause instanceof RequestError) throw cause;
    const code = cause instanceof SyscallError ? cause.code : (cause as NodeJS.ErrnoException).code;
    if (cause instanceof TypeError || typeof code === 'string')
      throw new RequestError('Failed', `the socket ${path} cannot be made (${code ?? 'its path is longer than 107 bytes'})`, {
        cause,
      });
    throw cause;
  }
}

function removeStaleSocket(path: string): void {
  try {
    connectStream(path).close();
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return;
    if (!isErrno(error, 'ECONNREFUSED')) throw error;
    if (!lstatSync(path).isSocket()) throw new RequestError('BadRequest', `${path} is there and is no socket`, { cause: error });
    return rmSync(path);
  }
  throw new RequestError('BadRequest', `a volume plugin answers on ${path} already`);
}
