// A connection to a message bus: authenticated, with calls out and their replies, and a word when a name leaves.
import type { Closer, FdList, OwnedFd } from '../../core/kernel/fd.js';
import { connectStream } from '../../core/kernel/socket.js';
import { encodeError, encodeMethodCall, type Message } from '../../core/wire/codec.js';
import { REPLY_LIMITS } from '../../core/wire/guard.js';
import { ERROR, METHOD_CALL, METHOD_RETURN, type MessageHeader, SIGNAL } from '../../core/wire/header.js';
import { clientHello, createSaslClient } from '../../core/wire/sasl-client.js';
import { parseErrorText } from './bus-driver.js';
import { createMessageReader } from './messages.js';
import { openStream, type FdStream } from './stream.js';

export const DRIVER = 'org.freedesktop.DBus';
const DRIVER_PATH = '/org/freedesktop/DBus';
const DRIVER_TIMEOUT = 25_000;
/** Above what a bus forwards (32 MiB, dbus-daemon's system.conf): nobody may end this connection by a long message. */
const BUS_LIMITS = { ...REPLY_LIMITS, maxBytes: 64 * 1024 * 1024 };

export interface BusCall {
  /** The bus driver or a unique name: a reply is taken from whom the call went to, and the bus sets the sender. */
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature?: string;
  readonly body?: readonly unknown[];
  /** Become the connection's. */
  readonly fds?: readonly OwnedFd[];
  /** Milliseconds. */
  readonly timeout: number;
  /** Gives the call up. */
  readonly signal?: AbortSignal;
}

/** An error reply. */
export class BusError extends Error {
  override readonly name = 'BusError';
  readonly errorName: string;

  constructor(errorName: string, text: string) {
    super(`${errorName}: ${text}`);
    this.errorName = errorName;
  }
}

/** No reply came in time, or the call was given up. */
export class NoReplyError extends Error {
  override readonly name = 'NoReplyError';
}

export interface BusConnection {
  readonly stream: FdStream;
  nextSerial(): number;
  readonly isOpen: boolean;
  /** Rejects with BusError, NoReplyError, or the reason why the connection ended. */
  call(call: BusCall): Promise<readonly unknown[]>;
  callDriver(member: string, signature?: string, body?: readonly unknown[]): Promise<readonly unknown[]>;
  /** Calls back when the owner of a unique name leaves the bus or has left, until disposed. Rejects if that cannot be watched. */
  watchName(name: string, onGone: () => void): Promise<Disposable>;
}

export interface BusEvents {
  onCall(message: Message, fds: FdList): void;
  /** The connection ended after it had begun. */
  onLost(reason: string): void;
}

interface PendingCall {
  readonly from: string;
  settle(result: readonly unknown[] | Error): void;
}

/** Connects to a bus at a socket path, authenticates and says Hello. */
export async function openBus(path: string, events: BusEvents, closer: Closer): Promise<BusConnection> {
  const sasl = createSaslClient();
  const pending = new Map<number, PendingCall>();
  const watched = new Map<string, Set<() => void>>();
  let authenticated = false;
  let open = true;
  let serial = 0;
  const nextSerial = (): number => ++serial;
  let onAuthenticated = (): void => {};
  let onRefused = (_error: Error): void => {};

  const reader = createMessageReader({ limits: BUS_LIMITS, onMessage: receiveMessage, onBadMessage: answerBadMessage });
  const stream = openStream(
    connectStream(path),
    {
      onData(chunk, fds) {
        if (authenticated) return reader.push(chunk, fds);
        for (const fd of fds) fd.close();
        const step = sasl.push(chunk);
        if (step.reject !== undefined) throw new Error(`the bus refused us: ${step.reject}`);
        if (!step.done) return;
        authenticated = true;
        onAuthenticated();
        if (step.done.rest.length > 0) reader.push(step.done.rest, []);
      },
      onClosed(reason) {
        open = false;
        reader.close();
        onRefused(new Error(reason));
        for (const call of pending.values()) call.settle(new Error(reason));
        // Later: what is thrown in here, the stream takes for a fault of the peer.
        if (authenticated) setImmediate(() => events.onLost(reason));
      },
    },
    closer,
  );

  function receiveMessage(message: Message, fds: FdList): void {
    const { header, body } = message;
    if (header.type === METHOD_CALL) return events.onCall(message, fds);
    fds[Symbol.dispose]();
    if (header.type === SIGNAL) return receiveSignal(message);
    const call = pending.get(header.replySerial);
    if (call === undefined) return;
    const fromCallee = header.sender === call.from;
    if (header.type === METHOD_RETURN && fromCallee) call.settle(body);
    // The bus itself answers for a callee that has left.
    if (header.type === ERROR && (fromCallee || header.sender === DRIVER))
      call.settle(new BusError(header.errorName, parseErrorText(body)));
  }

  function receiveSignal({ header, body: [name, , owner] }: Message): void {
    if (header.sender !== DRIVER || header.member !== 'NameOwnerChanged' || owner !== '') return;
    for (const onGone of watched.get(String(name)) ?? []) onGone();
  }

  function answerBadMessage(header: MessageHeader, error: Error): void {
    if (header.type !== METHOD_CALL || header.noReplyExpected) return;
    const errorName = 'org.freedesktop.DBus.Error.InvalidArgs';
    const reply = { serial: nextSerial(), replySerial: header.serial, destination: header.sender, errorName };
    stream.write(encodeError({ ...reply, text: error.message }));
  }

  function call({ fds = [], timeout, signal, ...message }: BusCall): Promise<readonly unknown[]> {
    return new Promise((resolve, reject) => {
      const number = nextSerial();
      const settle = (result: readonly unknown[] | Error): void => {
        pending.delete(number);
        clearTimeout(timer);
        signal?.removeEventListener('abort', giveUp);
        if (result instanceof Error) reject(result);
        else resolve(result);
      };
      const giveUp = (): void => settle(new NoReplyError(`${message.member} was given up`));
      const timer = setTimeout(() => settle(new NoReplyError(`no reply to ${message.member}`)), timeout);
      pending.set(number, { from: message.destination, settle });
      signal?.addEventListener('abort', giveUp);
      stream.write(encodeMethodCall({ serial: number, fds: fds.length, ...message }), fds);
      if (!open) settle(new Error('the connection to the bus is closed'));
      else if (signal?.aborted === true) giveUp();
    });
  }

  function callDriver(member: string, signature = '', body: readonly unknown[] = []): Promise<readonly unknown[]> {
    const driver = { destination: DRIVER, path: DRIVER_PATH, interface: DRIVER, timeout: DRIVER_TIMEOUT };
    return call({ ...driver, member, signature, body });
  }

  const ruleFor = (name: string): string =>
    `type='signal',sender='${DRIVER}',interface='${DRIVER}',member='NameOwnerChanged',path='${DRIVER_PATH}',arg0='${name}'`;

  /** Watches first and asks then: whoever leaves between the two is seen by one of them. */
  async function watchName(name: string, onGone: () => void): Promise<Disposable> {
    const callbacks = watched.get(name) ?? new Set();
    watched.set(name, callbacks.add(onGone));
    const unwatch = (): void => {
      callbacks.delete(onGone);
      if (callbacks.size === 0 && watched.get(name) === callbacks) watched.delete(name);
      // Rules are counted: each watch takes its own away. There is nothing to do if that fails.
      callDriver('RemoveMatch', 's', [ruleFor(name)]).catch(() => undefined);
    };
    try {
      await callDriver('AddMatch', 's', [ruleFor(name)]);
      const [there] = await callDriver('NameHasOwner', 's', [name]);
      if (there !== true) onGone();
      return { [Symbol.dispose]: unwatch };
    } catch (error) {
      unwatch();
      throw error;
    }
  }

  await new Promise<void>((resolve, reject) => {
    onAuthenticated = resolve;
    onRefused = reject;
    stream.write(clientHello());
  });
  await callDriver('Hello');
  return {
    stream,
    nextSerial,
    get isOpen() {
      return open;
    },
    call,
    callDriver,
    watchName,
  };
}
