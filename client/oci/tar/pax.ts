// Extended headers (POSIX.1-2017, pax, "pax Extended Header"): LENGTH KEY=VALUE and a newline, one after the other. Values are bytes: extended attributes are no text.
import { FormatError } from '../../../core/image/format-error.js';

const SPACE = 0x20;
const EQUALS = 0x3d;
const NEWLINE = 0x0a;
/** Digits of a length. */
const MAX_DIGITS = 8;

/** Values by key, both one byte in a character; of a key that comes twice the last. Throws FormatError. */
export function parsePax(bytes: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(SPACE, at);
    const end = at + lengthOf(bytes, at, space);
    const equals = bytes.indexOf(EQUALS, space);
    if (end > bytes.length || bytes[end - 1] !== NEWLINE || equals < 0 || equals >= end - 1 || equals === space + 1)
      throw new FormatError('pax-record', 'a record of an extended header is not LENGTH KEY=VALUE');
    const key = bytes.toString('latin1', space + 1, equals);
    if (key.includes('\0')) throw new FormatError('pax-record', 'a key of an extended header holds a NUL');
    records.set(key, bytes.toString('latin1', equals + 1, end - 1));
    at = end;
  }
  return records;
}

function lengthOf(bytes: Buffer, at: number, space: number): number {
  const digits = space < 0 || space - at > MAX_DIGITS ? '' : bytes.toString('latin1', at, space);
  if (/^[1-9]\d*$/.test(digits)) return Number(digits);
  throw new FormatError('pax-record', 'a record of an extended header does not start with its length');
}
