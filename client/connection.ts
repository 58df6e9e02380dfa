// A small synchronous D-Bus connection: no event loop is needed, so it serves a command that lives for some milliseconds.
import { SyscallError } from '../core/kernel/error.js';
import type { Fd, FdList, OwnedFd } from '../core/kernel/fd.js';
import { watch } from '../core/kernel/poll.js';
import { encodeMethodCall } from '../core/wire/codec.js';
import { RequestError } from '../core/wire/errors.js';
import { REQUEST_LIMITS } from '../core/wire/guard.js';
import { ERROR } from '../core/wire/header.js';
import { BUS_NAME } from '../core/wire/names.js';
import { ProtocolError } from '../core/wire/protocol-error.js';
import { type Deadline, deadlineIn, waitUntil } from './deadline.js';
import { type Incoming, type MessageStream, authenticate } from './message-stream.js';
import { JOURNAL_HINT, VERSION_HINT, readErrorReply } from './remote-error.js';

export interface MethodCall {
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature?: string;
  readonly body?: readonly unknown[];
  /** Descriptors to send; `h` values of the body are indexes into it. They stay the caller's. */
  readonly fds?: readonly Fd[];
  /** Somebody may be asked for a password because of this call. */
  readonly allowInteraction?: boolean;
  /** The signature the answer must have. */
  readonly answers: string;
}

export interface Reply {
  readonly body: readonly unknown[];
  /** The descriptors that came with it: dispose the list. */
  readonly fds: FdList;
}

export interface Connection {
  /** Sends a call and blocks the thread until it is answered. Throws `RequestError`; unless the service sent it, the connection is closed. */
  call(call: MethodCall): Reply;
  /** The same without blocking the thread while the service works. One call at a time. */
  callAsync(call: MethodCall): Promise<Reply>;
  close(): void;
}

export interface ConnectionOptions {
  readonly bus: boolean;
  /** For each call, and for what comes before the first. */
  readonly timeoutMs: number;
}

// D-Bus specification, "org.freedesktop.DBus.Hello": a bus takes no other call before it.
const HELLO: MethodCall = { path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus', member: 'Hello', answers: 's' };

/** Authenticates on a connected socket, which now belongs to the connection. Throws `RequestError`, the socket closed. */
export function openConnection(socket: OwnedFd, { bus, timeoutMs }: ConnectionOptions): Connection {
  const stream = orClose(
    () => authenticate(socket, deadlineIn(timeoutMs)),
    () => socket.close(),
  );
  const link = createLink(socket, stream);
  const exchange = (call: MethodCall, destination: string): Reply => {
    const deadline = deadlineIn(timeoutMs);
    return link.wait(call, link.start(call, destination, deadline), deadline);
  };
  const destination = bus ? BUS_NAME : '';
  if (bus) orClose(() => exchange(HELLO, HELLO.interface).fds[Symbol.dispose](), link.close);
  return {
    close: link.close,
    call: (call) => exchange(call, destination),
    async callAsync(call) {
      const deadline = deadlineIn(timeoutMs);
      return link.waitAsync(call, link.start(call, destination, deadline), deadline);
    },
  };
}

function createLink(socket: OwnedFd, stream: MessageStream) {
  let lastSerial = 0;
  let busy = false;

  function close(): void {
    stream.discard();
    socket.close();
  }

  function start(call: MethodCall, destination: string, deadline: Deadline): number {
    if (busy) throw new TypeError('a connection takes one call at a time');
    if (!socket.isOpen) throw new RequestError('Failed', 'the connection is closed');
    const { fds = [], answers: _answers, ...message } = call;
    const serial = (lastSerial = (lastSerial % 0xffff_ffff) + 1);
    const bytes = encodeMethodCall({ ...message, serial, destination, fds: fds.length });
    if (bytes.length > REQUEST_LIMITS.maxBytes) throw new RequestError('BadRequest', 'the request is longer than 64 KiB');
    orClose(() => stream.send(bytes, fds, deadline), close);
    return serial;
  }

  /** What of the answer is there, after `refill` brought more from the socket. */
  function look(call: MethodCall, serial: number, refill?: () => void): Reply | undefined {
    const incoming = orClose(() => {
      refill?.();
      return takeAnswer(stream, serial);
    }, close);
    if (incoming === undefined) return undefined;
    // What the service refuses, it refuses on a connection that is sound.
    if (incoming.message.header.type === ERROR) throw readError(incoming);
    return orClose(() => readReturn(call, incoming), close);
  }

  function wait(call: MethodCall, serial: number, deadline: Deadline): Reply {
    const refill = (): void => {
      waitUntil(socket, 'readable', deadline);
      stream.fill();
    };
    let reply = look(call, serial);
    while (reply === undefined) reply = look(call, serial, refill);
    return reply;
  }

  async function waitAsync(call: MethodCall, serial: number, deadline: Deadline): Promise<Reply> {
    busy = true;
    try {
      let reply = look(call, serial);
      while (reply === undefined) {
        await untilReadable(socket, orClose(deadline.remaining, close));
        reply = look(call, serial, stream.fill);
      }
      return reply;
    } finally {
      busy = false;
    }
  }

  return { close, start, wait, waitAsync };
}

/** The answer to a call among the messages that came; all others (signals of the bus) are dropped, their descriptors closed. */
function takeAnswer(stream: MessageStream, serial: number): Incoming | undefined {
  for (let incoming = stream.next(); incoming !== undefined; incoming = stream.next()) {
    if (incoming.message.header.replySerial === serial) return incoming;
    incoming.fds[Symbol.dispose]();
  }
  return undefined;
}

function readError({ message, fds }: Incoming): RequestError {
  fds[Symbol.dispose]();
  return readErrorReply(message.header.errorName, message.body[0]);
}

function readReturn(call: MethodCall, { message, fds }: Incoming): Reply {
  if (message.header.signature === call.answers) return { body: message.body, fds };
  fds[Symbol.dispose]();
  throw new ProtocolError(`the service answered ${call.member} in a form this client does not know`, { header: message.header });
}

/** Runs a step after whose failure the connection is of no use any more. */
function orClose<T>(step: () => T, close: () => void): T {
  try {
    return step();
  } catch (error) {
    close();
    throw explainLoss(error);
  }
}

function explainLoss(error: unknown): unknown {
  if (error instanceof ProtocolError) {
    const hint = error.header === undefined ? JOURNAL_HINT : VERSION_HINT;
    return new RequestError('Failed', error.message, { hint, cause: error });
  }
  if (error instanceof SyscallError) {
    return new RequestError('Failed', `the connection to the service broke (${error.code})`, {
      hint: JOURNAL_HINT,
      cause: error,
    });
  }
  return error;
}

/** Resolves when there is something to read, or after the time-out in milliseconds. */
function untilReadable(socket: Fd, timeoutMs: number): Promise<void> {
  return new Promise((resolve) => {
    const finish = (): void => {
      clearTimeout(timer);
      watching.stop();
      resolve();
    };
    const watching = watch(socket, finish);
    const timer = setTimeout(finish, timeoutMs);
  });
}
