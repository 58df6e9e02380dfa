import { ERROR, FIXED_BYTES, MAX_FDS, METHOD_CALL, METHOD_RETURN, SIGNAL, parseFraming, parseHeader } from './header.js';
import type { Framing, MessageHeader } from './header.js';
import { ProtocolError } from './protocol-error.js';
import { parseSignature } from './signature.js';
import { checkValue } from './values.js';
import type { ValueBudget } from './values.js';
import type { WireReader } from './wire-reader.js';

export interface GuardLimits {
  /** Bytes of a whole message. */
  readonly maxBytes: number;
  /** Values of all kinds in one message, containers and what is in them; a byte array counts as one. */
  readonly maxValues: number;
  /** Bytes of one signature, of the body or inside it. The parser behind us keeps a cache of signatures it has seen. */
  readonly maxSignature: number;
}

/** What a client may send to the service. Our longest signature has 9 bytes. */
export const REQUEST_LIMITS: GuardLimits = { maxBytes: 64 * 1024, maxValues: 16_384, maxSignature: 64 };
/** What we take from the service, or from the bus driver (a caller in 65,536 groups, each a value of 4 bytes). */
export const REPLY_LIMITS: GuardLimits = { maxBytes: 16 * 1024 * 1024, maxValues: 1_048_576, maxSignature: 255 };

/**
 * Checks one complete message before a parser sees it, in time linear in its size; throws `ProtocolError`.
 *
 * `availableFds`: fds that have come with the stream and belong to no message yet. The message may claim up to that many; each `h` in
 * it is below what it claims.
 */
export function checkMessage(message: Buffer, limits: GuardLimits, availableFds: number): MessageHeader {
  if (message.length < FIXED_BYTES) throw new ProtocolError('message shorter than its fixed header');
  const framing = parseFraming(message, limits.maxBytes);
  if (framing.size !== message.length) throw new ProtocolError('message of another size than it declares');
  const budget = { values: limits.maxValues, maxSignature: limits.maxSignature, unixFds: 0 };
  const header = parseHeader(message, framing, budget);
  if (header.unixFds > Math.min(availableFds, MAX_FDS))
    throw new ProtocolError(`message claims ${header.unixFds} fds, ${availableFds} came`);
  try {
    requireKnownType(header.type);
    checkBody(message, framing, header.signature, { ...budget, unixFds: header.unixFds });
  } catch (error) {
    if (error instanceof ProtocolError) throw new ProtocolError(error.message, { header });
    throw error;
  }
  return header;
}

function requireKnownType(type: number): void {
  if (![METHOD_CALL, METHOD_RETURN, ERROR, SIGNAL].includes(type)) throw new ProtocolError('unknown message type');
}

function checkBody(message: Buffer, framing: Framing, signature: string, budget: ValueBudget): void {
  if (signature.length > budget.maxSignature) throw new ProtocolError(`a signature is longer than ${budget.maxSignature} bytes`);
  const reader: WireReader = { message, littleEndian: framing.littleEndian, at: framing.bodyStart, end: framing.size };
  for (const type of parseSignature(signature)) checkValue(reader, type, budget);
  if (reader.at !== framing.size) throw new ProtocolError('body longer than its signature says');
}
