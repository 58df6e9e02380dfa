import { type DumpSource, dumpError } from './dump-source.js';

/** Fields of a dump line, by position. */
export const PATH = 0;
export const SIZE = 1;
export const MODE = 2;
export const NLINK = 3;
export const UID = 4;
export const GID = 5;
export const RDEV = 6;
export const MTIME = 7;
export const PAYLOAD = 8;
export const CONTENT = 9;
export const DIGEST = 10;
const FIELDS = 11;
const REQUIRED = 8;
/** Bytes of a line behind the last fixed field and its space. */
const MAX_REST = 65535;

const SPACE = 0x20;

/** Where the parts of one line are: field n is bytes[from[n], to[n]), xattrs start at `rest`. */
export interface DumpFields {
  readonly from: Int32Array;
  readonly to: Int32Array;
  rest: number;
}

export function newDumpFields(): DumpFields {
  return { from: new Int32Array(FIELDS), to: new Int32Array(FIELDS), rest: 0 };
}

/** Cuts the current line at its spaces. Fields 9–11 may be missing at the end and are then empty. */
export function splitLine(source: DumpSource, fields: DumpFields): void {
  const { bytes, lineEnd } = source;
  let at = source.lineStart;
  for (let index = 0; index < FIELDS; index += 1) {
    if (at > lineEnd && index < REQUIRED) throw dumpError(source, lineEnd, 'dump-fields', `the line has only ${index} fields`);
    const from = Math.min(at, lineEnd);
    let to = from;
    while (to < lineEnd && bytes[to] !== SPACE) to += 1;
    fields.from[index] = from;
    fields.to[index] = to;
    at = at > lineEnd ? at : to + 1;
  }
  fields.rest = Math.min(at, lineEnd);
  if (lineEnd - fields.rest > MAX_REST)
    throw dumpError(source, fields.rest, 'dump-xattrs-length', `more than ${MAX_REST} bytes follow the last fixed field`);
}

/** True if field `index` is exactly `-`. */
export function isDash(source: DumpSource, fields: DumpFields, index: number): boolean {
  const from = fields.from[index] ?? 0;
  return (fields.to[index] ?? 0) - from === 1 && source.bytes[from] === 0x2d;
}
