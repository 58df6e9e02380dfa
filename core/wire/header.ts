import { isBusName, isInterfaceName, isMemberName, isObjectPath } from './name-syntax.js';
import type { MessageHeader } from './message-header.js';
import { ProtocolError } from './protocol-error.js';
import { parseSingleType } from './signature.js';
import { checkValue } from './values.js';
import type { ValueBudget } from './values.js';
import { align, readByte, readSignature, readString, readUint32 } from './wire-reader.js';
import type { WireReader } from './wire-reader.js';

export type { MessageHeader } from './message-header.js';

// D-Bus specification, "Message Format".
export const METHOD_CALL = 1;
export const METHOD_RETURN = 2;
export const ERROR = 3;
export const SIGNAL = 4;
export const NO_REPLY_EXPECTED = 1;
export const ALLOW_INTERACTIVE_AUTHORIZATION = 4;
export const FIXED_BYTES = 16;
const LITTLE_ENDIAN = 0x6c; // 'l'
const BIG_ENDIAN = 0x42; // 'B'
const PROTOCOL_VERSION = 1;
// linux/af_unix: SCM_MAX_FD
export const MAX_FDS = 253;

/** Where things lie in a message, from its first 16 bytes. */
export interface Framing {
  readonly littleEndian: boolean;
  readonly fieldsEnd: number;
  readonly bodyStart: number;
  /** Size of the whole message in bytes. */
  readonly size: number;
}

type Fields = { -readonly [K in keyof Omit<MessageHeader, 'type' | 'flags' | 'noReplyExpected' | 'serial'>]: MessageHeader[K] };
type FieldReader = (reader: WireReader, fields: Fields) => void;

const FIELDS = new Map<number, { type: string; read: FieldReader }>([
  [1, { type: 'o', read: (reader, fields) => void (fields.path = readName(reader, isObjectPath, 'PATH')) }],
  [2, { type: 's', read: (reader, fields) => void (fields.interface = readName(reader, isInterfaceName, 'INTERFACE')) }],
  [3, { type: 's', read: (reader, fields) => void (fields.member = readName(reader, isMemberName, 'MEMBER')) }],
  [4, { type: 's', read: (reader, fields) => void (fields.errorName = readName(reader, isInterfaceName, 'ERROR_NAME')) }],
  [5, { type: 'u', read: (reader, fields) => void (fields.replySerial = readReplySerial(reader)) }],
  [6, { type: 's', read: (reader, fields) => void (fields.destination = readName(reader, isBusName, 'DESTINATION')) }],
  [7, { type: 's', read: (reader, fields) => void (fields.sender = readName(reader, isBusName, 'SENDER')) }],
  [8, { type: 'g', read: (reader, fields) => void (fields.signature = readSignature(reader)) }],
  [9, { type: 'u', read: (reader, fields) => void (fields.unixFds = readUint32(reader)) }],
]);

const REQUIRED = new Map<number, readonly (keyof Fields)[]>([
  [METHOD_CALL, ['path', 'member']],
  [METHOD_RETURN, ['replySerial']],
  [ERROR, ['errorName', 'replySerial']],
  [SIGNAL, ['path', 'interface', 'member']],
]);

/** Reads the sizes a message declares; `start` holds at least its first 16 bytes. Throws `ProtocolError` above `maxBytes`. */
export function parseFraming(start: Buffer, maxBytes: number): Framing {
  const littleEndian = start[0] === LITTLE_ENDIAN;
  if (!littleEndian && start[0] !== BIG_ENDIAN) throw new ProtocolError('unknown byte order');
  if (start[3] !== PROTOCOL_VERSION) throw new ProtocolError('unknown protocol version');
  const bodyBytes = littleEndian ? start.readUInt32LE(4) : start.readUInt32BE(4);
  const fieldsBytes = littleEndian ? start.readUInt32LE(12) : start.readUInt32BE(12);
  const fieldsEnd = FIXED_BYTES + fieldsBytes;
  const bodyStart = Math.ceil(fieldsEnd / 8) * 8;
  const size = bodyStart + bodyBytes;
  if (size > maxBytes) throw new ProtocolError(`message of ${size} bytes, at most ${maxBytes} are taken`);
  return { littleEndian, fieldsEnd, bodyStart, size };
}

/** Checks the header of a whole message; throws `ProtocolError`. A message type of the future passes: it is not an error of the stream. */
export function parseHeader(message: Buffer, framing: Framing, budget: ValueBudget): MessageHeader {
  const type = message.readUInt8(1);
  const flags = message.readUInt8(2);
  const serial = framing.littleEndian ? message.readUInt32LE(8) : message.readUInt32BE(8);
  if (type === 0) throw new ProtocolError('message of type 0');
  if (serial === 0) throw new ProtocolError('message with serial 0');
  const fields = parseFields(message, framing, budget);
  for (const name of REQUIRED.get(type) ?? [])
    if (fields[name] === '' || fields[name] === 0) throw new ProtocolError(`header without ${name}`);
  return { type, flags, noReplyExpected: (flags & NO_REPLY_EXPECTED) !== 0, serial, ...fields };
}

function parseFields(message: Buffer, framing: Framing, budget: ValueBudget): Fields {
  const reader: WireReader = { message, littleEndian: framing.littleEndian, at: FIXED_BYTES, end: framing.fieldsEnd };
  const fields: Fields = {
    path: '',
    interface: '',
    member: '',
    errorName: '',
    replySerial: 0,
    destination: '',
    sender: '',
    signature: '',
    unixFds: 0,
  };
  const seen = new Set<number>();
  while (reader.at < framing.fieldsEnd) parseField(reader, fields, seen, budget);
  align({ ...reader, end: framing.bodyStart }, 8);
  return fields;
}

function parseField(reader: WireReader, fields: Fields, seen: Set<number>, budget: ValueBudget): void {
  align(reader, 8);
  const code = readByte(reader);
  const type = readSignature(reader);
  if (code === 0) throw new ProtocolError('header field of code 0');
  const known = FIELDS.get(code);
  // The specification asks us to ignore fields of the future; they are walked all the same.
  if (known === undefined) return checkValue(reader, parseSingleType(type), budget, 3);
  if (type !== known.type) throw new ProtocolError(`header field ${code} of the wrong type`);
  if (seen.has(code)) throw new ProtocolError(`header field ${code} appears twice`);
  seen.add(code);
  known.read(reader, fields);
}

function readName(reader: WireReader, isValid: (text: string) => boolean, field: string): string {
  const text = readString(reader);
  if (!isValid(text)) throw new ProtocolError(`malformed ${field}`);
  return text;
}

function readReplySerial(reader: WireReader): number {
  const serial = readUint32(reader);
  if (serial === 0) throw new ProtocolError('reply to serial 0');
  return serial;
}
