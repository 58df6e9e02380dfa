import { chmodSync, lstatSync, mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';

import { isErrno } from '../core/kernel/error.js';
import type { OwnedFd } from '../core/kernel/fd.js';
import { connectStream, listenStream } from '../core/kernel/socket.js';

const BACKLOG = 1024;

function removeStaleSocket(path: string): void {
  try {
    connectStream(path).close();
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return;
    // A file that is no socket refuses connections as well.
    if (!isErrno(error, 'ECONNREFUSED')) throw error;
    if (!lstatSync(path).isSocket()) {
      throw new Error(`${path} is not a socket; remove it, or give --socket another path`, { cause: error });
    }
    return rmSync(path);
  }
  throw new Error(`another service answers on ${path}; stop it, or give --socket another path`);
}

/** Listens on a socket path that everybody may connect to; one left behind by a daemon that is gone is replaced. */
export function listenOn(path: string): OwnedFd {
  // The umask would keep everybody out of a directory made here.
  if (mkdirSync(dirname(path), { recursive: true }) !== undefined) chmodSync(dirname(path), 0o755);
  removeStaleSocket(path);
  const listener = listenStream(path, BACKLOG);
  chmodSync(path, 0o666);
  return listener;
}
