// Messages and their descriptors on a socket that is already connected: authentication, sending, receiving.
import { type Fd, FdList, type OwnedFd } from '../core/kernel/fd.js';
import { receive, send } from '../core/kernel/socket.js';
import { type Message, decodeMessage } from '../core/wire/codec.js';
import { createFrameSplitter } from '../core/wire/frames.js';
import { REPLY_LIMITS, checkMessage } from '../core/wire/guard.js';
import { MAX_FDS } from '../core/wire/header.js';
import { ProtocolError } from '../core/wire/protocol-error.js';
import { clientHello, createSaslClient } from '../core/wire/sasl-client.js';
import { type Deadline, waitUntil } from './deadline.js';

export interface Incoming {
  readonly message: Message;
  readonly fds: FdList;
}

export interface MessageStream {
  /** Sends a message, blocking while the peer's queue is full. */
  send(message: Buffer, fds: readonly Fd[], deadline: Deadline): void;
  /** Takes what the socket has, without waiting. Throws `ProtocolError` at its end. */
  fill(): void;
  /** The next complete message taken from the socket. */
  next(): Incoming | undefined;
  /** Closes the descriptors of messages nobody took. The socket stays open. */
  discard(): void;
}

const NOTHING = Buffer.alloc(0);
const CHUNK = 64 * 1024;
/** Descriptors of messages that are not complete: one message has at most MAX_FDS, the next may have begun. */
const MAX_PENDING_FDS = 2 * MAX_FDS;

/** Authenticates, blocking the thread, and takes over reading from the socket. Throws `ProtocolError` when the peer refuses. */
export function authenticate(socket: OwnedFd, deadline: Deadline): MessageStream {
  const stream = createStream(socket);
  try {
    stream.send(clientHello(), [], deadline);
    stream.accept(converse(stream, () => waitUntil(socket, 'readable', deadline)));
    return stream;
  } catch (error) {
    stream.discard();
    throw error;
  }
}

/** The start of the first message, where the server sent it behind its last word. */
function converse(stream: { pull(): Buffer | undefined; pendingFds(): number }, wait: () => void): Buffer {
  const sasl = createSaslClient();
  for (;;) {
    wait();
    const { done, reject } = sasl.push(stream.pull() ?? NOTHING);
    if (reject !== undefined) throw new ProtocolError(reject);
    if ((done === undefined || done.rest.length === 0) && stream.pendingFds() > 0)
      throw new ProtocolError('a descriptor came without a message');
    if (done !== undefined) return done.rest;
  }
}

function createStream(socket: OwnedFd) {
  const chunk = Buffer.allocUnsafe(CHUNK);
  const splitter = createFrameSplitter(REPLY_LIMITS.maxBytes);
  const complete: Buffer[] = [];
  const pending: OwnedFd[] = [];

  function pull(): Buffer | undefined {
    const received = receive(socket, chunk);
    if (received === null) return undefined;
    pending.push(...received.fds);
    if (received.truncated || pending.length > MAX_PENDING_FDS)
      throw new ProtocolError('more descriptors came than a message may have');
    if (received.bytes === 0) throw new ProtocolError('the service closed the connection');
    return chunk.subarray(0, received.bytes);
  }

  function next(): Incoming | undefined {
    for (let bytes = complete.shift(); bytes !== undefined; bytes = complete.shift()) {
      const incoming = read(bytes, pending);
      if (incoming !== undefined) return incoming;
    }
    return undefined;
  }

  return {
    pull,
    next,
    pendingFds: () => pending.length,
    accept: (bytes: Buffer): void => void complete.push(...splitter.push(bytes)),
    fill(): void {
      const bytes = pull();
      if (bytes !== undefined) complete.push(...splitter.push(bytes));
    },
    send(message: Buffer, fds: readonly Fd[], deadline: Deadline): void {
      for (let sent = 0; sent < message.length;) {
        // Descriptors go with the first byte, and once.
        const went = send(socket, message.subarray(sent), sent === 0 ? fds : []);
        if (went === null) waitUntil(socket, 'writable', deadline);
        else sent += went;
      }
    },
    discard(): void {
      for (const fd of pending.splice(0)) fd.close();
    },
  };
}

/** One message with its descriptors, taken from those that came; undefined for one that is refused alone. */
function read(bytes: Buffer, pending: OwnedFd[]): Incoming | undefined {
  const taken: OwnedFd[] = [];
  try {
    const header = checkMessage(bytes, REPLY_LIMITS, pending.length);
    taken.push(...pending.splice(0, header.unixFds));
    return { message: decodeMessage(bytes, header), fds: new FdList(taken) };
  } catch (error) {
    for (const fd of taken) fd.close();
    const header = error instanceof ProtocolError ? error.header : undefined;
    if (header === undefined) throw error;
    if (taken.length === 0) for (const fd of pending.splice(0, header.unixFds)) fd.close();
    // On a bus anybody can send us a signal; that must not cost us the connection. An answer we cannot read does.
    if (header.replySerial !== 0) throw error;
    return undefined;
  }
}
