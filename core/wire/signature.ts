import { ProtocolError } from './protocol-error.js';

/** One complete type. `size` is 0 where values differ in size; `children`: array element, struct fields, or dict key and value. */
export interface TypeNode {
  readonly code: string;
  readonly align: number;
  readonly size: number;
  readonly children: readonly TypeNode[];
}

// D-Bus specification, "Marshalling" (summary table).
const BASIC = new Map<string, TypeNode>(
  (
    [
      ['y', 1, 1],
      ['b', 4, 4],
      ['n', 2, 2],
      ['q', 2, 2],
      ['i', 4, 4],
      ['u', 4, 4],
      ['h', 4, 4],
      ['x', 8, 8],
      ['t', 8, 8],
      ['d', 8, 8],
      ['s', 4, 0],
      ['o', 4, 0],
      ['g', 1, 0],
    ] as const
  ).map(([code, align, size]) => [code, { code, align, size, children: [] }]),
);
const VARIANT: TypeNode = { code: 'v', align: 1, size: 0, children: [] };

// D-Bus specification, "Valid Signatures": 32 arrays and 32 structs deep. A dict entry does not count as a struct, in libdbus neither
// (a bus forwards what it accepts); it is always in an array, which counts.
const MAX_DEPTH = 32;
const MAX_SIGNATURE = 255;

interface Depths {
  readonly array: number;
  readonly struct: number;
}
const NO_DEPTH: Depths = { array: 0, struct: 0 };

interface Cursor {
  readonly text: string;
  at: number;
}

/** Parses a signature of any number of complete types, at most 255 bytes; throws `ProtocolError`. */
export function parseSignature(text: string): TypeNode[] {
  if (text.length > MAX_SIGNATURE) throw new ProtocolError('signature longer than 255 bytes');
  const cursor: Cursor = { text, at: 0 };
  const types: TypeNode[] = [];
  while (cursor.at < text.length) types.push(parseType(cursor, NO_DEPTH));
  return types;
}

/** Parses a signature of exactly one complete type, as a variant has it; throws `ProtocolError`. */
export function parseSingleType(text: string): TypeNode {
  const basic = BASIC.get(text);
  if (basic !== undefined) return basic;
  const [only, ...more] = parseSignature(text);
  if (only === undefined || more.length > 0) throw new ProtocolError('a variant must hold exactly one complete type');
  return only;
}

function parseType(cursor: Cursor, depths: Depths): TypeNode {
  const code = cursor.text[cursor.at++] ?? '';
  const basic = BASIC.get(code);
  if (basic !== undefined) return basic;
  if (code === 'v') return VARIANT;
  if (code === 'a') return parseArray(cursor, depths);
  if (code === '(') return parseStruct(cursor, depths);
  throw new ProtocolError(code === '' ? 'signature ends inside a type' : 'signature holds an unknown or misplaced type code');
}

function parseArray(cursor: Cursor, outer: Depths): TypeNode {
  const depths = { ...outer, array: outer.array + 1 };
  if (depths.array > MAX_DEPTH) throw new ProtocolError('signature nests more than 32 arrays');
  const element = cursor.text[cursor.at] === '{' ? parseDictEntry(cursor, depths) : parseType(cursor, depths);
  return { code: 'a', align: 4, size: 0, children: [element] };
}

function parseStruct(cursor: Cursor, outer: Depths): TypeNode {
  const depths = { ...outer, struct: outer.struct + 1 };
  if (depths.struct > MAX_DEPTH) throw new ProtocolError('signature nests more than 32 structs');
  const children: TypeNode[] = [];
  while (cursor.text[cursor.at] !== ')') children.push(parseType(cursor, depths));
  cursor.at++;
  // A type of no bytes would let a few bytes of message ask for endless values.
  if (children.length === 0) throw new ProtocolError('signature holds an empty struct');
  return { code: '(', align: 8, size: 0, children };
}

function parseDictEntry(cursor: Cursor, depths: Depths): TypeNode {
  cursor.at++;
  const key = BASIC.get(cursor.text[cursor.at++] ?? '');
  if (key === undefined) throw new ProtocolError('a dict key must be of a basic type');
  const value = parseType(cursor, depths);
  if (cursor.text[cursor.at++] !== '}') throw new ProtocolError('a dict entry must hold one key and one value');
  return { code: '{', align: 8, size: 0, children: [key, value] };
}
