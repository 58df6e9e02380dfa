import { type ByteString, hexDigit, toByteString } from './bytes.js';
import { type DumpSource, dumpError } from './dump-source.js';

const BACKSLASH = 0x5c;
const SHORT: ReadonlyMap<number, number> = new Map([
  [BACKSLASH, BACKSLASH],
  [0x6e, 0x0a], // \n
  [0x72, 0x0d], // \r
  [0x74, 0x09], // \t
]);

/** Takes the escapes of bytes[from, to) of the current line apart. */
export function unescapeField(source: DumpSource, from: number, to: number): ByteString {
  const { bytes } = source;
  let at = from;
  while (at < to && bytes[at] !== BACKSLASH) at += 1;
  if (at === to) return toByteString(bytes, from, to);
  const plain = new Uint8Array(to - from);
  let length = 0;
  for (at = from; at < to; length += 1) {
    if (bytes[at] !== BACKSLASH) {
      plain[length] = bytes[at] ?? 0;
      at += 1;
    } else if (bytes[at + 1] === 0x78) {
      plain[length] = unescapeHex(source, at, to);
      at += 4;
    } else {
      plain[length] = unescapeShort(source, at, to);
      at += 2;
    }
  }
  return toByteString(plain, 0, length);
}

function unescapeShort(source: DumpSource, at: number, to: number): number {
  const value = at + 1 < to ? SHORT.get(source.bytes[at + 1] ?? 0) : undefined;
  if (value === undefined) throw dumpError(source, at, 'dump-escape', 'a backslash starts one of \\\\ \\n \\r \\t \\xHH');
  return value;
}

function unescapeHex(source: DumpSource, at: number, to: number): number {
  const high = at + 3 < to ? hexDigit(source.bytes[at + 2] ?? 0) : -1;
  const low = at + 3 < to ? hexDigit(source.bytes[at + 3] ?? 0) : -1;
  if (high < 0 || low < 0) throw dumpError(source, at, 'dump-escape', '\\x must be followed by two hex digits');
  return high * 16 + low;
}

const NAMED: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function escapeCharacter(character: string): string {
  return NAMED[character] ?? `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
}

/** Printable ASCII that stands for these bytes in fields 1, 9, 10 and 11 of a dump; a lone `-` is the caller's to escape. */
export function escapeField(value: ByteString): string {
  return value.replace(/[^\x21-\x5b\x5d-\x7e]/g, escapeCharacter);
}

/** The same for xattr keys and values, where `=` is escaped too. */
export function escapeXattr(value: ByteString): string {
  return value.replace(/[^\x21-\x3c\x3e-\x5b\x5d-\x7e]/g, escapeCharacter);
}
