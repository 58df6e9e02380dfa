import { FormatError } from './format-error.js';

/** The dump being parsed and where its current line starts, for the position in errors. */
export interface DumpSource {
  readonly bytes: Uint8Array;
  /** Counts from 1. */
  line: number;
  /** Offset of the line's first byte. */
  lineStart: number;
  /** Offset of its LF, or of the end of the file. */
  lineEnd: number;
}

/** An error at byte offset `at` of the current line. */
export function dumpError(source: DumpSource, at: number, rule: string, message: string): FormatError {
  return new FormatError(rule, message, { line: source.line, column: at - source.lineStart + 1 });
}
