// A connection that sends whatever it is told, for callers that do not keep to the rules.
import type { Fd, OwnedFd } from '../../core/kernel/fd.js';
import { addressOf, bind } from '../../core/kernel/libc.js';
import { waitReady } from '../../core/kernel/poll.js';
import { connectStream, receive, send } from '../../core/kernel/socket.js';
import { clientHello } from '../../core/wire/sasl-client.js';
import { PATIENCE } from './machine.js';

export interface RawConnection {
  readonly socket: OwnedFd;
  /** Sends bytes with descriptors, all of them, or throws. */
  send(bytes: Uint8Array, fds?: readonly Fd[]): void;
  /** Sends one byte and a descriptor out of band. */
  sendUrgent(fd: Fd): void;
  /** Bytes that arrive within the time; null at the end of the stream. Descriptors that come along are closed and counted. */
  receive(timeoutMs: number): { bytes: Buffer; fds: number } | null | 'timeout';
  close(): void;
}

const sendmsg = bind('sendmsg', ['fd', 'buffer', 'int'], 'long');

function sendOutOfBand(socket: Fd, fd: Fd): void {
  const MSG_OOB = 1;
  const byte = Buffer.from([0]);
  const vector = Buffer.alloc(16); // struct iovec
  vector.writeBigUInt64LE(addressOf(byte), 0);
  vector.writeBigUInt64LE(1n, 8);
  const control = Buffer.alloc(24); // struct cmsghdr: SOL_SOCKET, SCM_RIGHTS, and one descriptor
  control.writeBigUInt64LE(20n, 0);
  control.writeInt32LE(1, 8);
  control.writeInt32LE(1, 12);
  control.writeInt32LE(fd.raw, 16);
  const header = Buffer.alloc(56); // struct msghdr
  header.writeBigUInt64LE(addressOf(vector), 16);
  header.writeBigUInt64LE(1n, 24);
  header.writeBigUInt64LE(addressOf(control), 32);
  header.writeBigUInt64LE(24n, 40);
  sendmsg(socket.raw, header, MSG_OOB);
}

export function connectRaw(path: string): RawConnection {
  const socket = connectStream(path);
  return {
    socket,
    send(bytes, fds = []) {
      let rest = bytes;
      let given = fds;
      while (rest.length > 0) {
        const sent = send(socket, rest, given);
        if (sent === null) {
          if (!waitReady(socket, 'writable', 5_000)) throw new Error('the service does not read');
          continue;
        }
        given = [];
        rest = rest.subarray(sent);
      }
    },
    sendUrgent: (fd) => sendOutOfBand(socket, fd),
    receive(timeoutMs) {
      if (!waitReady(socket, 'readable', timeoutMs)) return 'timeout';
      const buffer = Buffer.alloc(65536);
      try {
        const got = receive(socket, buffer);
        if (!got) return 'timeout';
        for (const fd of got.fds) fd.close();
        return got.bytes === 0 ? null : { bytes: buffer.subarray(0, got.bytes), fds: got.fds.length };
      } catch {
        return null; // reset
      }
    },
    close: () => socket.close(),
  };
}

/** Connects and authenticates as the kernel knows us. */
export function connectAuthenticated(path: string): RawConnection {
  const connection = connectRaw(path);
  connection.send(clientHello());
  let text = '';
  while (!text.includes('AGREE_UNIX_FD\r\n')) {
    const got = connection.receive(5_000 * PATIENCE);
    if (got === null || got === 'timeout') throw new Error(`authentication failed after: ${text}`);
    text += got.bytes.toString('latin1');
  }
  return connection;
}
