import type { ByteString } from './bytes.js';

// https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
const P1 = 0x9e3779b1;
const P2 = 0x85ebca77;
const P3 = 0xc2b2ae3d;
const P4 = 0x27d4eb2f;
const P5 = 0x165667b1;

/** XXH32 of the bytes, as an unsigned number. */
export function xxh32(bytes: ByteString, seed: number): number {
  const length = bytes.length;
  const striped = length - (length % 16);
  let h = (length >= 16 ? hashStripes(bytes, striped, seed) : (seed + P5) | 0) + length;
  let at = striped;
  for (; at + 4 <= length; at += 4) h = Math.imul(rotate(h + Math.imul(word(bytes, at), P3), 17), P4);
  for (; at < length; at += 1) h = Math.imul(rotate(h + Math.imul(bytes.charCodeAt(at), P5), 11), P1);
  h = Math.imul(h ^ (h >>> 15), P2);
  h = Math.imul(h ^ (h >>> 13), P3);
  return (h ^ (h >>> 16)) >>> 0;
}

function hashStripes(bytes: ByteString, end: number, seed: number): number {
  let a = (seed + P1 + P2) | 0;
  let b = (seed + P2) | 0;
  let c = seed | 0;
  let d = (seed - P1) | 0;
  for (let at = 0; at < end; at += 16) {
    a = round(a, word(bytes, at));
    b = round(b, word(bytes, at + 4));
    c = round(c, word(bytes, at + 8));
    d = round(d, word(bytes, at + 12));
  }
  return (rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18)) | 0;
}

function round(lane: number, input: number): number {
  return Math.imul(rotate(lane + Math.imul(input, P2), 13), P1);
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

function word(bytes: ByteString, at: number): number {
  return (
    bytes.charCodeAt(at) | (bytes.charCodeAt(at + 1) << 8) | (bytes.charCodeAt(at + 2) << 16) | (bytes.charCodeAt(at + 3) << 24)
  );
}
