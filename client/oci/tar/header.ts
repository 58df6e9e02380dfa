// One header block of a tar archive: POSIX ustar, GNU and the form before them. Every field has to be what the formats say; what two readers could take for
// different things is refused.
import { FormatError } from '../../../core/image/format-error.js';

export const TAR_BLOCK = 512;

/** Strings hold one byte in a character (latin1). */
export interface TarHeader {
  readonly typeFlag: string;
  readonly name: string;
  readonly link: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Seconds. */
  readonly mtime: number;
  readonly major: number;
  readonly minor: number;
}

const ZEROS = Buffer.alloc(TAR_BLOCK);
const POSIX = 'ustar\x0000';
const GNU = 'ustar  \0';
const OLD = '\0'.repeat(8);

/** Undefined for a block of zeros, which ends an archive. Throws FormatError. */
export function parseTarHeader(block: Buffer): TarHeader | undefined {
  if (block.length !== TAR_BLOCK) throw new RangeError('a tar header has 512 bytes');
  if (block[0] === 0 && block.equals(ZEROS)) return undefined;
  if (sumOf(block) !== numberAt(block, 148, 8, 'checksum'))
    throw new FormatError('tar-checksum', 'the checksum of a header is wrong');
  const magic = block.toString('latin1', 257, 265);
  if (magic !== POSIX && magic !== GNU && magic !== OLD)
    throw new FormatError('tar-format', 'a header is neither POSIX nor GNU tar');
  // star has times in the second half of the prefix, and says so here.
  if (magic === POSIX && block.toString('latin1', 508, 512) === 'tar\0')
    throw new FormatError('tar-format', 'a header is in the format of star');
  const prefix = magic === POSIX ? textAt(block, 345, 155) : '';
  const name = textAt(block, 0, 100);
  const hasDevice = magic !== OLD;
  return {
    typeFlag: String.fromCharCode(block[156] ?? 0),
    name: prefix === '' ? name : `${prefix}/${name}`,
    link: textAt(block, 157, 100),
    mode: numberAt(block, 100, 8, 'mode'),
    uid: numberAt(block, 108, 8, 'uid'),
    gid: numberAt(block, 116, 8, 'gid'),
    size: numberAt(block, 124, 12, 'size'),
    mtime: numberAt(block, 136, 12, 'mtime', true),
    major: hasDevice ? numberAt(block, 329, 8, 'device number') : 0,
    minor: hasDevice ? numberAt(block, 337, 8, 'device number') : 0,
  };
}

/** Of all bytes, those of the checksum counted as blanks. */
function sumOf(block: Buffer): number {
  let sum = 8 * 0x20;
  for (let at = 0; at < 148; at += 1) sum += block[at] as number;
  for (let at = 156; at < TAR_BLOCK; at += 1) sum += block[at] as number;
  return sum;
}

function textAt(block: Buffer, at: number, length: number): string {
  const end = block.indexOf(0, at);
  return block.toString('latin1', at, end < 0 || end > at + length ? at + length : end);
}

/** Octal digits, or the bytes of the number itself where the first bit says so (GNU). A blank field is 0. */
function numberAt(block: Buffer, at: number, length: number, what: string, signed = false): number {
  const first = block[at] as number;
  if (first >= 0x80) return binaryNumber(block, at, length, what, signed);
  const text = block.toString('latin1', at, at + length);
  const digits = /^ *([0-7]*)[ \0]*$/.exec(text)?.[1];
  if (digits === undefined) throw new FormatError('tar-number', `the ${what} in a header is no octal number`);
  return digits === '' ? 0 : Number.parseInt(digits, 8);
}

function binaryNumber(block: Buffer, at: number, length: number, what: string, signed: boolean): number {
  const first = block[at];
  if (first !== 0x80 && !(signed && first === 0xff))
    throw new FormatError('tar-number', `the ${what} in a header is negative or too large`);
  let value = first === 0x80 ? 0n : -1n;
  for (let index = at + 1; index < at + length; index += 1) value = (value << 8n) | BigInt(block[index] as number);
  const number = Number(value);
  if (Number.isSafeInteger(number) && (signed || number >= 0)) return number;
  throw new FormatError('tar-number', `the ${what} in a header is negative or too large`);
}
