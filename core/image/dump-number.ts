import { type DumpSource, dumpError } from './dump-source.js';

const DIGITS_EXACT = 15; // 10^15 < 2^53
const U32 = 0xffffffff;

/** A decimal number up to `max`, digits only: no sign, no blank, nothing else. */
export function parseDecimal(source: DumpSource, from: number, to: number, max: bigint, what: string): bigint {
  if (to - from <= DIGITS_EXACT) {
    const value = BigInt(parseDigits(source, from, to, 10, what));
    if (value <= max) return value;
  } else {
    let value = 0n;
    for (let at = from; at < to && value <= max; at += DIGITS_EXACT) {
      const end = Math.min(at + DIGITS_EXACT, to);
      value = value * 10n ** BigInt(end - at) + BigInt(parseDigits(source, at, end, 10, what));
    }
    if (value <= max) return value;
  }
  throw dumpError(source, from, 'dump-number-range', `the ${what} is above ${max}`);
}

export function parseU32(source: DumpSource, from: number, to: number, what: string): number {
  if (to - from > DIGITS_EXACT) return Number(parseDecimal(source, from, to, BigInt(U32), what));
  const value = parseDigits(source, from, to, 10, what);
  if (value > U32) throw dumpError(source, from, 'dump-number-range', `the ${what} is above ${U32}`);
  return value;
}

/** A mode in octal; the result has its low 16 bits, higher ones up to 32 bits mean nothing. */
export function parseMode(source: DumpSource, from: number, to: number): number {
  let start = from;
  while (start < to - 1 && source.bytes[start] === 0x30) start += 1;
  const value = to - start <= DIGITS_EXACT ? parseDigits(source, start, to, 8, 'mode') : Number.POSITIVE_INFINITY;
  if (value > U32) throw dumpError(source, from, 'dump-number-range', 'the mode has more than 32 bits');
  return value & 0xffff;
}

function parseDigits(source: DumpSource, from: number, to: number, radix: 8 | 10, what: string): number {
  if (from >= to) throw dumpError(source, from, 'dump-number', `the ${what} is missing`);
  let value = 0;
  for (let at = from; at < to; at += 1) {
    const digit = (source.bytes[at] ?? 0) - 0x30;
    if (digit < 0 || digit >= radix)
      throw dumpError(source, at, 'dump-number', `the ${what} must be ${radix === 8 ? 'octal' : 'decimal'} digits only`);
    value = value * radix + digit;
  }
  return value;
}

/** `SEC.NSEC`, two whole numbers: 1.1 is one second and one nanosecond. */
export function parseTime(source: DumpSource, from: number, to: number): { seconds: bigint; nanoseconds: number } {
  const dot = source.bytes.indexOf(0x2e, from);
  if (dot < 0 || dot >= to) throw dumpError(source, from, 'dump-time', 'the mtime must be SECONDS.NANOSECONDS');
  const negative = source.bytes[from] === 0x2d;
  const magnitude = parseDecimal(source, negative ? from + 1 : from, dot, negative ? 2n ** 63n : 2n ** 63n - 1n, 'mtime');
  return { seconds: negative ? -magnitude : magnitude, nanoseconds: parseU32(source, dot + 1, to, 'nanoseconds of the mtime') };
}
