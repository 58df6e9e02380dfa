import { marshall, unmarshall } from 'dbus-native/lib/message.js';
import { ALLOW_INTERACTIVE_AUTHORIZATION, ERROR, METHOD_CALL, METHOD_RETURN, NO_REPLY_EXPECTED, SIGNAL } from './header.js';
import type { MessageHeader } from './header.js';
import { ProtocolError } from './protocol-error.js';

export interface Message {
  readonly header: MessageHeader;
  /** One value per complete type of the signature; 64-bit integers are bigint, a dict is an array of [key, value], a variant a `Variant`. */
  readonly body: readonly unknown[];
}

/** Decodes a message that `checkMessage` has passed, with the header it returned. */
export function decodeMessage(message: Buffer, header: MessageHeader): Message {
  try {
    const { body = [] } = unmarshall(message, { returnBigInt: true, variants: 'wrap' });
    return { header, body };
  } catch (cause) {
    throw new ProtocolError('message could not be decoded', { header, cause });
  }
}

interface Outgoing {
  readonly serial: number;
  /** Empty or absent on a direct connection. */
  readonly destination?: string;
  readonly signature?: string;
  readonly body?: readonly unknown[];
  /** How many fds go with the message; `h` values in the body are indexes below it. */
  readonly fds?: number;
}

export interface OutgoingReturn extends Outgoing {
  readonly replySerial: number;
}

export interface OutgoingError {
  readonly serial: number;
  readonly replySerial: number;
  readonly destination?: string;
  readonly errorName: string;
  readonly text: string;
}

export interface OutgoingCall extends Outgoing {
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly noReplyExpected?: boolean;
  /** A person may be asked for a password. */
  readonly allowInteraction?: boolean;
}

export interface OutgoingSignal extends Outgoing {
  readonly path: string;
  readonly interface: string;
  readonly member: string;
}

export function encodeMethodReturn(reply: OutgoingReturn): Buffer {
  return encode(METHOD_RETURN, NO_REPLY_EXPECTED, reply, { replySerial: reply.replySerial });
}

export function encodeError(reply: OutgoingError): Buffer {
  const { serial, replySerial, errorName, destination = '' } = reply;
  return encode(
    ERROR,
    NO_REPLY_EXPECTED,
    { serial, destination, signature: 's', body: [reply.text] },
    { replySerial, errorName },
  );
}

export function encodeMethodCall(call: OutgoingCall): Buffer {
  const interactive = call.allowInteraction === true ? ALLOW_INTERACTIVE_AUTHORIZATION : 0;
  const flags = (call.noReplyExpected === true ? NO_REPLY_EXPECTED : 0) | interactive;
  return encode(METHOD_CALL, flags, call, { path: call.path, interface: call.interface, member: call.member });
}

export function encodeSignal(signal: OutgoingSignal): Buffer {
  return encode(SIGNAL, NO_REPLY_EXPECTED, signal, { path: signal.path, interface: signal.interface, member: signal.member });
}

interface TypeFields {
  path?: string;
  interface?: string;
  member?: string;
  errorName?: string;
  replySerial?: number;
}

// What dbus-native throws here is our own bug: the values are ours.
function encode(type: number, flags: number, message: Outgoing, fields: TypeFields): Buffer {
  const { serial, destination = '', signature = '', body = [], fds = 0 } = message;
  return marshall({ type, flags, serial, destination, signature, body, fds: { length: fds }, ...fields });
}
