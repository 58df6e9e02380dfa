// What cfsctl writes. Text that came from elsewhere reaches the terminal only through here, with its control characters escaped.
import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { waitReady } from '../core/kernel/poll.js';
import { RequestError } from '../core/wire/errors.js';

const STDOUT = 1;
const STDERR = 2;

/** Controls, and the invisible characters that turn or hide what stands beside them. */
export const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

export function escapeText(text: string): string {
  return text.replace(UNPRINTABLE, (char) => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`);
}

/** Columns as wide as their widest cell, two spaces between; no spaces at the end of a line. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [header, ...rows].map((row) => row.map(escapeText));
  const widths = header.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
  return lines
    .map(
      (line) =>
        `${line
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

/** One `name  value` a line; a value of several lines is continued below itself, an empty one left out. */
export function formatFields(fields: readonly (readonly [name: string, value: string | readonly string[]])[]): string {
  const width = Math.max(...fields.map(([name]) => name.length));
  const lines = fields.flatMap(([name, value]) =>
    (typeof value === 'string' ? [value].filter((line) => line !== '') : value).map((line, index) => {
      const label = (index === 0 ? name : '').padEnd(width);
      return `${`${label}  ${escapeText(line)}`.trimEnd()}\n`;
    }),
  );
  return lines.join('');
}

/** One line of JSON. 64-bit integers become strings, which every reader keeps exact. */
export function formatJson(value: unknown): string {
  const text = JSON.stringify(value, (_, item: unknown) => (typeof item === 'bigint' ? String(item) : item));
  // JSON leaves DEL, C1 and the invisible characters as they are; a terminal would not.
  const escaped = text.replace(UNPRINTABLE, (char) =>
    Array.from({ length: char.length }, (_, i) => `\\u${char.charCodeAt(i).toString(16).padStart(4, '0')}`).join(''),
  );
  return `${escaped}\n`;
}

/** `usage` for a mistake on the command line. */
export interface Complaint {
  readonly code: RequestError['code'] | 'Usage';
  readonly message: string;
  readonly hint?: string | undefined;
}

/** The error and, line by line, what to do about it; as one JSON object if asked. */
export function formatError({ code, message, hint }: Complaint, json: boolean): string {
  if (json) return formatJson({ code, message, hint: hint ?? null });
  // Later lines of a hint may be text to copy (a policy rule): they are indented, and nothing else.
  const hints = (hint?.split('\n') ?? []).map((line, index) => `${index === 0 ? '  hint: ' : '        '}${escapeText(line)}`);
  return [`cfsctl: ${escapeText(message)}`, ...hints].map((line) => `${line.trimEnd()}\n`).join('');
}

/** `sha256:` and the first 12 digits: enough to tell images apart by eye, not to trust one. */
export function shortenDigest(digest: string): string {
  return digest.slice(0, digest.indexOf(':') + 13);
}

/** `1 object`, `2 objects`. */
export function formatCount(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** `1 byte`, `999 bytes`, `1.0 KiB`: for people; exact numbers are in JSON. */
export function formatBytes(bytes: number | bigint): string {
  let value = Number(bytes);
  if (value === 1) return '1 byte';
  let unit = 0;
  for (; value >= 1024 && unit < UNITS.length - 1; unit += 1) value /= 1024;
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`;
}

/** Local time, to the second. */
export function formatTime(milliseconds: number): string {
  const date = new Date(milliseconds);
  if (Number.isNaN(date.getTime())) return 'unknown';
  return new Date(milliseconds - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replace('T', ' ');
}

export function formatIsoTime(milliseconds: number): string | null {
  const date = new Date(milliseconds);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}

const COLOURS = { green: 32, red: 31, yellow: 33 } as const;

/** Coloured for a terminal whose owner did not say NO_COLOR (no-color.org). For text of our own only: it is not escaped any more. */
export function paint(colour: keyof typeof COLOURS, text: string): string {
  const wanted = isatty(STDOUT) && (process.env['NO_COLOR'] ?? '') === '';
  return wanted ? `\u001B[${COLOURS[colour]}m${text}\u001B[0m` : text;
}

export function print(text: string): void {
  writeAll(STDOUT, text);
}

/** Writes bytes as they are, for a file or a pipe. */
export function printBytes(bytes: Uint8Array): void {
  writeAll(STDOUT, bytes);
}

/** Characters that are written at once: a system call for each line would be most of the work. */
const PIECE = 1 << 16;

/** Prints text that comes in pieces of any size and may be longer than memory; stops when nobody reads any more. */
export function printPieces(pieces: Iterable<string>): void {
  let waiting = '';
  for (const piece of pieces) {
    waiting += piece;
    if (waiting.length < PIECE) continue;
    if (!writeAll(STDOUT, waiting)) return;
    waiting = '';
  }
  print(waiting);
}

/** The same array that formatJson would make, piece by piece. */
export function* formatJsonArray(values: Iterable<unknown>): Generator<string, void, void> {
  let before = '[';
  for (const value of values) {
    yield before + formatJson(value).slice(0, -1);
    before = ',';
  }
  yield before === '[' ? '[]\n' : ']\n';
}

/** Where it cannot be written, the exit status alone has to tell. */
export function printError(text: string): void {
  try {
    writeAll(STDERR, text);
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
  }
}

/** Writes at once: the process may end right behind it. False if nobody reads any more, which is no error. */
function writeAll(fd: number, data: string | Uint8Array): boolean {
  let rest = typeof data === 'string' ? Buffer.from(data) : data;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EPIPE') return false;
      if (code !== 'EAGAIN') throw new RequestError('Failed', `the output cannot be written (${code})`, { cause: error });
      waitReady({ raw: fd }, 'writable', 1000);
    }
  }
  return true;
}
