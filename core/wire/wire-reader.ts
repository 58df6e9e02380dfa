import { isUtf8 } from 'node:buffer';
import { ProtocolError } from './protocol-error.js';

/** A place in one message that moves front to back, never past `end`. Plain data and functions: a method table costs more than the reading. */
export interface WireReader {
  readonly message: Buffer;
  readonly littleEndian: boolean;
  readonly end: number;
  at: number;
}

function take(reader: WireReader, bytes: number): number {
  const from = reader.at;
  if (bytes > reader.end - from) throw new ProtocolError('a value runs past the end');
  reader.at = from + bytes;
  return from;
}

export function skipBytes(reader: WireReader, bytes: number): void {
  take(reader, bytes);
}

/** Skips to a multiple of `boundary` (1, 2, 4 or 8), counted from the start of the message; the bytes between must be zero. */
export function align(reader: WireReader, boundary: number): void {
  const misplaced = reader.at % boundary;
  if (misplaced === 0) return;
  const from = take(reader, boundary - misplaced);
  for (let byte = from; byte < reader.at; byte++) {
    if (reader.message[byte] !== 0) throw new ProtocolError('padding is not zero');
  }
}

export function readByte(reader: WireReader): number {
  return reader.message.readUInt8(take(reader, 1));
}

export function readUint32(reader: WireReader): number {
  align(reader, 4);
  const from = take(reader, 4);
  return reader.littleEndian ? reader.message.readUInt32LE(from) : reader.message.readUInt32BE(from);
}

/** Checks a string: UTF-8, no NUL inside, one behind. */
export function checkString(reader: WireReader): void {
  takeText(reader, readUint32(reader));
}

export function readString(reader: WireReader): string {
  return readText(reader, readUint32(reader));
}

/** The text of a signature; whether it is one is for `parseSignature`. */
export function readSignature(reader: WireReader): string {
  return readText(reader, readByte(reader));
}

function readText(reader: WireReader, length: number): string {
  const from = takeText(reader, length);
  return reader.message.toString('utf8', from, from + length);
}

// Text is nearly always short and ASCII: that much is seen here byte by byte, the exact check is for the rest.
function takeText(reader: WireReader, length: number): number {
  const { message } = reader;
  const from = take(reader, length + 1);
  let bits = 0;
  for (let at = from; at < from + length; at++) {
    const byte = message[at] ?? 0;
    if (byte === 0) throw new ProtocolError('a string holds NUL');
    bits |= byte;
  }
  if (message[from + length] !== 0) throw new ProtocolError('a string does not end in NUL');
  if (bits > 0x7f && !isUtf8(message.subarray(from, from + length))) throw new ProtocolError('a string is not valid UTF-8');
  return from;
}
