// Strict DER. The guard below passes over every byte before the library does, which would take other forms of BER for the same.
import { ASN1Obj } from '@sigstore/core/dist/asn1/index.js';

import { FormatError } from '../image/format-error.js';

export type Element = ASN1Obj;

/** Of certificates and signatures none is deeper than ten or so. */
const MAX_DEPTH = 24;

const CONSTRUCTED = 0x20;
const CONTEXT = 0x80;
// X.690, universal class.
export const INTEGER = 0x02;
export const OCTET_STRING = 0x04;
export const NULL = 0x05;
export const OID = 0x06;
export const SEQUENCE = 0x30;
export const SET = 0x31;

/** The tag of `[number]`, constructed. */
export const contextTag = (number: number): number => CONTEXT | CONSTRUCTED | number;

/** One element of DER that fills the bytes. Throws `FormatError` for anything else, BER that is not DER included. */
export function parseDer(bytes: Uint8Array): Element {
  if (bytes.length === 0) throw new FormatError('der-empty', 'there are no bytes');
  const end = checkElement(bytes, 0, bytes.length, 0);
  if (end !== bytes.length) throw new FormatError('der-trailing', `${bytes.length - end} bytes follow the end`);
  return ASN1Obj.parseBuffer(Buffer.from(bytes));
}

/** Checks the element at an offset and returns the offset behind it. */
function checkElement(bytes: Uint8Array, at: number, end: number, depth: number): number {
  if (depth > MAX_DEPTH) throw new FormatError('der-depth', `elements nest more than ${MAX_DEPTH} deep`);
  const tag = requireTag(bytes[at]);
  const { from, length } = readLength(bytes, at + 1, end);
  const behind = from + length;
  if (behind > end) throw new FormatError('der-truncated', 'an element is longer than what it is in');
  if (tag === INTEGER) requireShortestInteger(bytes, from, length);
  if ((tag & CONSTRUCTED) !== 0) for (let inner = from; inner < behind;) inner = checkElement(bytes, inner, behind, depth + 1);
  return behind;
}

function requireTag(tag: number | undefined): number {
  if (tag === undefined) throw new FormatError('der-truncated', 'the bytes end inside an element');
  if ((tag & 0x1f) === 0x1f || tag === 0) throw new FormatError('der-tag', 'a tag has a form that is not used here');
  const universal = (tag & 0xc0) === 0;
  if (universal && ((tag & CONSTRUCTED) !== 0) !== (tag === SEQUENCE || tag === SET))
    throw new FormatError('der-constructed', 'a simple value is in pieces, or a sequence is not');
  return tag;
}

function readLength(bytes: Uint8Array, at: number, end: number): { from: number; length: number } {
  const first = bytes[at];
  if (first === undefined || at >= end) throw new FormatError('der-truncated', 'the bytes end inside an element');
  if (first < 0x80) return { from: at + 1, length: first };
  if (first === 0x80) throw new FormatError('der-indefinite', 'an element has no length (BER, not DER)');
  const count = first & 0x7f;
  if (count > 3) throw new FormatError('der-length', 'a length has more digits than any that can be true');
  if (at + count >= end) throw new FormatError('der-truncated', 'the bytes end inside an element');
  let length = 0;
  for (let index = 1; index <= count; index += 1) length = length * 256 + (bytes[at + index] ?? 0);
  if (length < 0x80 || length < 256 ** (count - 1)) throw new FormatError('der-length', 'a length is not in its shortest form');
  return { from: at + 1 + count, length };
}

function requireShortestInteger(bytes: Uint8Array, at: number, length: number): void {
  const [first, second = 0] = bytes.subarray(at, at + length);
  const padded = length > 1 && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80));
  if (length === 0 || padded) throw new FormatError('der-integer', 'a number is not in its shortest form');
}

/** The tag as the byte it is written as. */
export const tagOf = ({ tag }: Element): number => tag.toDER();

/** The children of an element with this tag, as many as `least` to `most`. `what` names it for people. */
export function childrenOf(element: Element | undefined, tag: number, what: string, least: number, most = least): Element[] {
  if (element === undefined || tagOf(element) !== tag || element.subs.length < least || element.subs.length > most)
    throw new FormatError('signature-shape', `${what} is not what the standard says`);
  return element.subs;
}

/** The bytes of a simple element with this tag. */
export function valueOf(element: Element | undefined, tag: number, what: string): Buffer {
  if (element === undefined || tagOf(element) !== tag)
    throw new FormatError('signature-shape', `${what} is not what the standard says`);
  return element.value;
}

/** An object identifier as hex digits of its encoding: the library's dotted form takes long numbers for shorter ones. */
export const oidOf = (element: Element | undefined, what: string): string => valueOf(element, OID, what).toString('hex');

/** A small version number. */
export function versionOf(element: Element | undefined, what: string): number {
  const value = valueOf(element, INTEGER, what);
  return value.length === 1 ? (value[0] ?? 0) : Number.POSITIVE_INFINITY;
}

/** Writes an element of up to 65,535 bytes from its tag and contents. */
export function writeDer(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const value = Buffer.concat(contents);
  return Buffer.concat([Buffer.from([tag, ...writeLength(value.length)]), value]);
}

function writeLength(length: number): number[] {
  if (length < 0x80) return [length];
  return length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
}
