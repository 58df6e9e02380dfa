// Names inside an image are bytes. On the terminal they are text that says exactly which bytes they are, and that can be typed back.
import { type ByteString, hexDigit, toByteString } from '../../core/image/bytes.js';
import { UNPRINTABLE } from '../output.js';

const PLAIN = /^[\x20-\x5b\x5d-\x7e]*$/;
const NAMED: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** UTF-8 as it is, with `\\ \n \r \t \xHH` for a backslash, for what cannot be seen and, in a name that is not UTF-8, for every byte that is not ASCII. */
export function showBytes(value: ByteString): string {
  if (PLAIN.test(value)) return value;
  const bytes = Buffer.from(value, 'latin1');
  try {
    return decoder.decode(bytes).replace(/\\/g, '\\\\').replace(UNPRINTABLE, escapeCharacter);
  } catch {
    return value.replace(/[^\x20-\x5b\x5d-\x7e]/g, (byte) => NAMED[byte] ?? hex(byte.charCodeAt(0)));
  }
}

function escapeCharacter(character: string): string {
  return NAMED[character] ?? [...Buffer.from(character)].map(hex).join('');
}

function hex(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, '0')}`;
}

const VALUES: Readonly<Record<string, string>> = { '\\': '\\', n: '\n', r: '\r', t: '\t' };

/** The bytes that text in the form of showBytes stands for; undefined if a backslash starts nothing that is known. */
export function parseShownBytes(text: string): ByteString | undefined {
  const bytes = toByteString(Buffer.from(text));
  let plain = '';
  for (let at = 0; at < bytes.length; at += 1) {
    if (bytes[at] !== '\\') {
      plain += bytes[at];
      continue;
    }
    const next = bytes[at + 1] ?? '';
    const [value, length] = next === 'x' ? [parseHex(bytes, at + 2), 3] : [VALUES[next], 1];
    if (value === undefined) return undefined;
    plain += value;
    at += length;
  }
  return plain as ByteString;
}

function parseHex(bytes: ByteString, at: number): string | undefined {
  const high = hexDigit(bytes.charCodeAt(at));
  const low = hexDigit(bytes.charCodeAt(at + 1));
  return high < 0 || low < 0 ? undefined : String.fromCharCode(high * 16 + low);
}
