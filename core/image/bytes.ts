declare const byteStringBrand: unique symbol;

/**
 * Bytes as a string whose code unit n is byte n, 0 to 255 (what Node calls latin1). File names, targets, xattrs and contents are bytes, not text; in this form they
 * take one byte each in memory, `<` orders them as unsigned bytes with a proper prefix first, `===` compares them, and they are keys of a Map.
 */
export type ByteString = string & { readonly [byteStringBrand]: true };

/** Arguments of a call go on the stack; this many are safe. */
const PIECE = 8192;

/** Copies bytes[from, to) into a byte string. */
export function toByteString(bytes: Uint8Array, from = 0, to = bytes.length): ByteString {
  if (to - from <= PIECE) return piece(bytes, from, to) as ByteString;
  const pieces: string[] = [];
  for (let at = from; at < to; at += PIECE) pieces.push(piece(bytes, at, Math.min(at + PIECE, to)));
  return pieces.join('') as ByteString;
}

/** Of the ways to make a flat string of code units, the quickest for names and keys. */
function piece(bytes: Uint8Array, from: number, to: number): string {
  const codes: number[] = [];
  codes.length = to - from;
  for (let at = from; at < to; at += 1) codes[at - from] = bytes[at] ?? 0;
  return String.fromCharCode(...codes);
}

/** A byte string from text all of whose characters are in U+0000–U+00FF; throws RangeError on any other, which is a fault of the calling code. */
export function byteString(text: string): ByteString {
  for (let at = 0; at < text.length; at += 1)
    if (text.charCodeAt(at) > 0xff) throw new RangeError('a byte string holds characters up to U+00FF only');
  return text as ByteString;
}

/** Copies a byte string to `target` at `at` and returns the offset behind it. */
export function putByteString(target: Uint8Array, at: number, value: ByteString, from = 0, to = value.length): number {
  for (let index = from; index < to; index += 1) target[at + index - from] = value.charCodeAt(index);
  return at + to - from;
}

export function toBytes(value: ByteString): Uint8Array {
  const bytes = new Uint8Array(value.length);
  putByteString(bytes, 0, value);
  return bytes;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** Lower-case hex digits, two per byte. */
export function hexOf(value: ByteString): string {
  let hex = '';
  for (let at = 0; at < value.length; at += 1) hex += HEX[value.charCodeAt(at)] ?? '';
  return hex;
}

/** Value of a hex digit of either case, or -1. */
export function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x61 + 10 : -1;
}

/** Bytes of hex digits of either case, or undefined if `hex` is not an even number of them. */
export function bytesOfHex(hex: string): ByteString | undefined {
  const bytes = new Uint8Array(hex.length / 2);
  for (let at = 0; at < bytes.length; at += 1) {
    const high = hexDigit(hex.charCodeAt(2 * at));
    const low = hexDigit(hex.charCodeAt(2 * at + 1));
    if (high < 0 || low < 0) return undefined;
    bytes[at] = high * 16 + low;
  }
  return hex.length % 2 === 0 ? toByteString(bytes) : undefined;
}
