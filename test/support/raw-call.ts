// One method call sent as it stands, right or wrong, and what came of it in a form that can be compared.
import type { Fd } from '../../core/kernel/fd.js';
import { decodeMessage, encodeMethodCall } from '../../core/wire/codec.js';
import { checkMessage, REPLY_LIMITS } from '../../core/wire/guard.js';
import { ERROR } from '../../core/wire/header.js';
import { ERROR_PREFIX, INTERFACE, OBJECT_PATH } from '../../core/wire/names.js';
import { connectAuthenticated, type RawConnection } from './raw-connection.js';

export interface RawCall {
  readonly member: string;
  readonly signature?: string;
  readonly body?: readonly unknown[];
  /** Descriptors that are sent. */
  readonly fds?: readonly Fd[];
  /** What the header says about their number; the truth unless given. */
  readonly claims?: number;
  readonly interface?: string;
  readonly path?: string;
  /** Changes the encoded message before it goes out. */
  readonly damage?: (message: Buffer) => void;
}

/** 'reply', 'dropped' (the connection was closed), 'silent' (no answer in time), or the error's name without our prefix. */
export interface Outcome {
  readonly what: string;
  /** Values as JSON has them, 64-bit numbers as text. */
  readonly body: unknown;
  /** Descriptors that came with the answer. */
  readonly fds: number;
}

export function encodeCall({ member, signature = '', body = [], fds = [], claims = fds.length, ...rest }: RawCall): Buffer {
  const { interface: name = INTERFACE, path = OBJECT_PATH, damage } = rest;
  const message = encodeMethodCall({ serial: 7, path, interface: name, member, signature, body, fds: claims });
  damage?.(message);
  return message;
}

function readOutcome(connection: RawConnection, timeoutMs: number): Outcome {
  const got = connection.receive(timeoutMs);
  if (got === 'timeout') return { what: 'silent', body: null, fds: 0 };
  if (got === null) return { what: 'dropped', body: null, fds: 0 };
  const message = Buffer.from(got.bytes);
  const { header, body } = decodeMessage(message, checkMessage(message, REPLY_LIMITS, got.fds));
  const plain = JSON.parse(JSON.stringify(body, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value)));
  const what = header.type === ERROR ? header.errorName.replace(ERROR_PREFIX, '') : 'reply';
  return { what, body: plain as unknown, fds: got.fds };
}

/** Connects to the socket, makes the call and waits for what comes of it; descriptors in the answer are closed. */
export function callRaw(socket: string, call: RawCall, timeoutMs = 15_000): Outcome {
  const connection = connectAuthenticated(socket);
  try {
    connection.send(encodeCall(call), call.fds ?? []);
    return readOutcome(connection, timeoutMs);
  } finally {
    connection.close();
  }
}
