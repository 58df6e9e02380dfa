// A list of digests as a file: up to millions, held as packed bytes with a table of places, found in constant time.
import {
  DIGEST_SIZE,
  type VerityAlgorithm,
  type VerityDigest,
  digestAlgorithm,
  parseVerityDigest,
} from '../core/image/digest.js';
import { FormatError } from '../core/image/format-error.js';
import { type Problem, PolicyError } from './problem.js';

export interface DigestList {
  /** The file it was read from. */
  readonly file: string;
  /** Different digests in it. */
  readonly size: number;
  /** Those of its digests. */
  readonly algorithms: readonly VerityAlgorithm[];
  has(digest: VerityDigest): boolean;
}

const MAX_LIST = 2 ** 28;
/** Enough to see what is wrong with a file of millions of lines. */
const MAX_PROBLEMS = 20;
const [NEWLINE, RETURN, SPACE, TAB, HASH, COLON] = [10, 13, 32, 9, 35, 58];

/** Value of each hexadecimal digit by its code, 255 for everything else; lower case alone, so that a digest has one spelling. */
const NIBBLES = Uint8Array.from({ length: 256 }, (_, code) => {
  if (code >= 48 && code <= 57) return code - 48;
  return code >= 97 && code <= 102 ? code - 87 : 255;
});

/** Reads a list: one digest a line, white space around it, comments from # to the end of the line. Throws PolicyError. */
export function readDigestList(file: string, text: Uint8Array): DigestList {
  if (text.length > MAX_LIST) throw new PolicyError([{ file, line: 1, message: 'the list is larger than 256 MiB; split it' }]);
  const tables = { sha256: makeTable(text.length, 'sha256'), sha512: makeTable(text.length, 'sha512') };
  const problems: Problem[] = [];
  let line = 0;
  for (let start = 0; start < text.length && problems.length < MAX_PROBLEMS;) {
    line += 1;
    const newline = text.indexOf(NEWLINE, start);
    const end = newline < 0 ? text.length : newline;
    const problem = addLine(tables, text, start, end);
    if (problem !== undefined) problems.push({ file, line, message: problem });
    start = end + 1;
  }
  if (problems.length > 0) throw new PolicyError(problems);
  return {
    file,
    size: tables.sha256.size() + tables.sha512.size(),
    algorithms: (['sha256', 'sha512'] as const).filter((algorithm) => tables[algorithm].size() > 0),
    has: (digest) => tables[digestAlgorithm(digest)].has(digest),
  };
}

type Tables = Readonly<Record<VerityAlgorithm, Table>>;

/** Adds the digest of a line, if it has one; says what is wrong otherwise. */
function addLine(tables: Tables, text: Uint8Array, from: number, to: number): string | undefined {
  if (takeDigest(tables, text, from, to)) return undefined; // most lines are nothing else
  let start = from;
  while (start < to && isBlank(text[start]!)) start += 1;
  if (start === to || text[start] === HASH) return undefined;
  let end = start;
  while (end < to && !isBlank(text[end]!) && text[end] !== HASH) end += 1;
  let rest = end;
  while (rest < to && isBlank(text[rest]!)) rest += 1;
  if (rest < to && text[rest] !== HASH) return 'more than a digest stands here; write one digest a line, and # before a comment';
  if (takeDigest(tables, text, start, end)) return undefined;
  return describeBadDigest(String.fromCharCode(...text.subarray(start, Math.min(end, start + 200))));
}

/** By their length alone the two algorithms can be told apart; that it is what the name says, too, is checked then. */
function takeDigest(tables: Tables, text: Uint8Array, start: number, end: number): boolean {
  const algorithm = end - start === 7 + 128 ? 'sha512' : 'sha256';
  const isWhole = end - start === 7 + 2 * DIGEST_SIZE[algorithm] && startsWith(text, start, PREFIX[algorithm]);
  return isWhole && tables[algorithm].add(text, start + 7);
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB || code === RETURN;
}

const PREFIX = { sha256: [115, 104, 97, 50, 53, 54, COLON], sha512: [115, 104, 97, 53, 49, 50, COLON] };

function startsWith(text: Uint8Array, at: number, prefix: readonly number[]): boolean {
  for (let i = 0; i < prefix.length; i += 1) if (text[at + i] !== prefix[i]) return false;
  return true;
}

function describeBadDigest(digest: string): string {
  try {
    parseVerityDigest(digest);
    return 'the digest cannot be read; write it as "fsverity digest IMAGE" prints it';
  } catch (error) {
    if (error instanceof FormatError) return `${error.message}; write it as "fsverity digest IMAGE" prints it`;
    throw error;
  }
}

interface Table {
  /** Takes the digest whose digits stand at this place of the list; false if one of them is no digit. */
  add(text: Uint8Array, at: number): boolean;
  has(digest: VerityDigest): boolean;
  size(): number;
}

/**
 * Open addressing: `places` holds the number of a digest in `packed` plus one, 0 where there is none. A digest is as good as random, so its first bytes are the hash;
 * whoever writes the list could make them collide, and could as well write that everything is trusted. Nothing here keeps the text of the list. What is not written
 * to takes no memory: the table of an algorithm that no line has costs nothing.
 */
function makeTable(textLength: number, algorithm: VerityAlgorithm): Table {
  const width = DIGEST_SIZE[algorithm];
  const most = Math.ceil(textLength / (2 * width + 8));
  const slots = 2 ** Math.ceil(Math.log2(Math.max(most, 1) * 2));
  const mask = slots - 1;
  const packed = new Uint8Array((most + 1) * width);
  const places = new Uint32Array(slots);
  const wanted = new Uint8Array(width);
  let count = 0;

  /** The place of the digest that stands in `bytes`, or the free one where it belongs. */
  function findPlace(bytes: Uint8Array, at: number): number {
    let slot = (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) & mask;
    for (; places[slot] !== 0; slot = (slot + 1) & mask) {
      const other = (places[slot]! - 1) * width;
      let i = 0;
      while (i < width && packed[other + i] === bytes[at + i]) i += 1;
      if (i === width) break;
    }
    return slot;
  }

  return {
    size: () => count,
    add(text, at) {
      // Behind the last digest, where the bytes stay if they turn out to be new.
      const end = count * width;
      let seen = 0;
      for (let i = 0; i < width; i += 1) {
        const high = NIBBLES[text[at + 2 * i]!]!;
        const low = NIBBLES[text[at + 2 * i + 1]!]!;
        packed[end + i] = (high << 4) | low;
        seen |= high | low;
      }
      if (seen > 15) return false;
      const slot = findPlace(packed, end);
      if (places[slot] === 0) places[slot] = count += 1;
      return true;
    },
    has(digest) {
      for (let i = 0; i < width; i += 1) {
        const high = NIBBLES[digest.charCodeAt(7 + 2 * i)]!;
        wanted[i] = (high << 4) | NIBBLES[digest.charCodeAt(8 + 2 * i)]!;
      }
      return places[findPlace(wanted, 0)] !== 0;
    },
  };
}
