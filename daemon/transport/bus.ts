// The system bus: the same calls, with the bus driver's word for who called.
import type { Closer, FdList } from '../../core/kernel/fd.js';
import { connectStream } from '../../core/kernel/socket.js';
import { encodeError, encodeMethodCall, type Message } from '../../core/wire/codec.js';
import { parseErrorText, parseCredentials } from './bus-driver.js';
import { REPLY_LIMITS } from '../../core/wire/guard.js';
import { ERROR, METHOD_CALL, METHOD_RETURN, type MessageHeader } from '../../core/wire/header.js';
import { BUS_NAME } from '../../core/wire/names.js';
import { clientHello, createSaslClient } from '../../core/wire/sasl-client.js';
import { createMessageReader } from './messages.js';
import { createCallGate, type Caller, type CallHandler } from './peer.js';
import { openStream } from './stream.js';

const DRIVER = 'org.freedesktop.DBus';
const DRIVER_TIMEOUT = 25_000;
// All callers share this one connection, and each call holds descriptors: more than that and the bus keeps them in its queue.
const MAX_CALLS_ON_BUS = 256;
/** Above what a bus forwards (32 MiB, dbus-daemon's system.conf): nobody may end this connection by a long message. */
const BUS_LIMITS = { ...REPLY_LIMITS, maxBytes: 64 * 1024 * 1024 };
const NAME_FLAG_DO_NOT_QUEUE = 4;
const REQUEST_NAME_PRIMARY_OWNER = 1;

export interface BusServer {
  lastActivity(): number;
  close(): void;
}

interface PendingCall {
  resolve(body: readonly unknown[]): void;
  reject(error: Error): void;
}

/** Connects to a bus at a socket path, authenticates, and takes the service's name. `onLost` reports a bus that went away. */
export async function serveBus(
  path: string,
  handler: CallHandler,
  closer: Closer,
  onLost: (reason: string) => void,
): Promise<BusServer> {
  const sasl = createSaslClient();
  const pending = new Map<number, PendingCall>();
  let authenticated = false;
  let open = true;
  let serial = 0;
  let lastActivity = Date.now();
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
        for (const call of pending.values()) call.reject(new Error(reason));
        pending.clear();
        // Later: what is thrown in here, the stream takes for a fault of the peer.
        if (authenticated) setImmediate(onLost, reason);
      },
    },
    closer,
  );
  const gate = createCallGate(stream, nextSerial, handler, MAX_CALLS_ON_BUS);

  function receiveMessage(message: Message, fds: FdList): void {
    const { header, body } = message;
    if (header.type === METHOD_CALL) {
      lastActivity = Date.now();
      return gate.accept(message, fds, () => identify(header.sender));
    }
    fds[Symbol.dispose]();
    // Replies are taken from the driver alone: the bus sets the sender.
    const call = header.sender === DRIVER ? pending.get(header.replySerial) : undefined;
    if (!call || (header.type !== METHOD_RETURN && header.type !== ERROR)) return;
    pending.delete(header.replySerial);
    if (header.type === METHOD_RETURN) call.resolve(body);
    else call.reject(new Error(`${header.errorName}: ${parseErrorText(body)}`));
  }

  function answerBadMessage(header: MessageHeader, error: Error): void {
    if (header.type !== METHOD_CALL || header.noReplyExpected) return;
    const errorName = 'org.freedesktop.DBus.Error.InvalidArgs';
    stream.write(
      encodeError({
        serial: nextSerial(),
        replySerial: header.serial,
        destination: header.sender,
        errorName,
        text: error.message,
      }),
    );
  }

  function callDriver(member: string, signature = '', body: readonly unknown[] = []): Promise<readonly unknown[]> {
    return new Promise((resolve, reject) => {
      const number = nextSerial();
      const timer = setTimeout(() => {
        pending.delete(number);
        reject(new Error(`the bus did not answer ${member}`));
      }, DRIVER_TIMEOUT);
      pending.set(number, {
        resolve: (answer) => (clearTimeout(timer), resolve(answer)),
        reject: (error) => (clearTimeout(timer), reject(error)),
      });
      stream.write(
        encodeMethodCall({
          serial: number,
          destination: DRIVER,
          path: '/org/freedesktop/DBus',
          interface: DRIVER,
          member,
          signature,
          body,
        }),
      );
    });
  }

  /** Asked for each call: a unique name is never given twice, so the answer is about this very caller or an error. */
  async function identify(sender: string): Promise<Caller> {
    const [credentials] = await callDriver('GetConnectionCredentials', 's', [sender]);
    const caller = parseCredentials(credentials);
    return { ...caller, payer: caller.uid, transport: 'bus', isGone: () => !open };
  }

  await new Promise<void>((resolve, reject) => {
    onAuthenticated = resolve;
    onRefused = reject;
    stream.write(clientHello());
  });
  await callDriver('Hello');
  const [result] = await callDriver('RequestName', 'su', [BUS_NAME, NAME_FLAG_DO_NOT_QUEUE]);
  if (result !== REQUEST_NAME_PRIMARY_OWNER) {
    stream.close('name taken');
    throw new Error(`the name ${BUS_NAME} is taken on the bus at ${path}; is another cfsmountd running?`);
  }
  return { lastActivity: () => lastActivity, close: () => stream.close('the service is stopping') };
}
