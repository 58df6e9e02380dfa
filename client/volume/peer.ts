// Who is at the other end of a connection.
import { readlinkSync } from 'node:fs';
import type { Fd } from '../../core/kernel/fd.js';
import { peerCredentials } from '../../core/kernel/socket.js';

/** The user whose plugin it is; not one of the subordinate ids that containers have, and not another user of the host. */
export function isOwner(connection: Fd): boolean {
  return peerCredentials(connection).uid === process.getuid?.();
}

/** What is attached here is seen by the peer: it has this mount namespace. `unknown` where it has gone, or is in another pid namespace. */
export function sharesMounts(connection: Fd): boolean | 'unknown' {
  const { pid } = peerCredentials(connection);
  try {
    return readlinkSync(`/proc/${pid}/ns/mnt`) === readlinkSync('/proc/self/ns/mnt');
  } catch (error) {
    // Of a process in another user namespace it is not shown.
    return (error as NodeJS.ErrnoException).code === 'EACCES' ? false : 'unknown';
  }
}
