import { type AST, ParseError, parseTOML } from 'toml-eslint-parser';
import { type Problem, PolicyError, quote } from './problem.js';

export type Path = readonly (string | number)[];

export interface TomlDocument {
  /** Tables are objects without a prototype; strings, integers and booleans as they are. Nothing else occurs. */
  readonly value: unknown;
  /** The line of the thing at this path, or of the nearest thing around it. */
  lineOf(path: Path): number;
}

const MAX_TEXT = 2 ** 20;
/** A policy has at most four steps (rule, index, users, index); more is not looked at, so that nothing here recurses without bound. */
const MAX_DEPTH = 6;

/** Where TOML's own dates may stand; they become their text. */
const TIME_KEYS: readonly (string | number)[] = ['not-before', 'not-after'];

type Table = Record<string, unknown>;

/** Reads one TOML 1.0 file into plain values and remembers where each stood. Throws PolicyError. */
export function readToml(file: string, text: string): TomlDocument {
  requirePlainText(file, text);
  const lines = new Map<string, number>();
  const value = emptyTable();
  const problems: Problem[] = [];
  const context: Context = { value, lines, refuse: (line, message) => void problems.push({ file, line, message }) };
  for (const node of parse(file, text).body[0].body) {
    if (node.type === 'TOMLTable') addTable(context, node);
    else addKeyValue(context, [], node);
  }
  if (problems.length > 0) throw new PolicyError(problems);
  return { value, lineOf: (path) => lineOf(lines, path) };
}

interface Context {
  readonly value: Table;
  readonly lines: Map<string, number>;
  refuse(line: number, message: string): void;
}

function requirePlainText(file: string, text: string): void {
  const refuse = (line: number, message: string): never => {
    throw new PolicyError([{ file, line, message }]);
  };
  if (text.length > MAX_TEXT) refuse(1, 'the file is larger than 1 MiB; split it');
  if (text.startsWith('\ufeff')) refuse(1, 'the file starts with a byte-order mark; save it as plain UTF-8');
  const nul = text.indexOf('\0');
  if (nul >= 0) refuse(text.slice(0, nul).split('\n').length, 'the file contains a NUL byte; save it as plain UTF-8');
}

function parse(file: string, text: string): AST.TOMLProgram {
  try {
    return parseTOML(text, { tomlVersion: '1.0' });
  } catch (error) {
    if (error instanceof ParseError) {
      throw new PolicyError([
        {
          file,
          line: error.lineNumber,
          message: `not valid TOML: ${error.message}; mend the line, or write the whole file again if it was cut short`,
        },
      ]);
    }
    if (error instanceof RangeError)
      throw new PolicyError([{ file, line: 1, message: 'the file is nested too deeply; a policy has tables of simple values' }]);
    throw error;
  }
}

function addTable(context: Context, table: AST.TOMLTable): void {
  const line = table.loc.start.line;
  if (!requireUsablePath(context, table.resolvedKey, line)) return;
  noteLines(context, table.resolvedKey, line);
  ensureTable(context, table.resolvedKey);
  for (const entry of table.body) addKeyValue(context, table.resolvedKey, entry);
}

function addKeyValue(context: Context, base: Path, entry: AST.TOMLKeyValue): void {
  const line = entry.loc.start.line;
  const path = [...base, ...entry.key.keys.map((key) => (key.type === 'TOMLBare' ? key.name : key.value))];
  if (!requireUsablePath(context, path, line)) return;
  noteLines(context, path, line);
  const last = path.at(-1);
  const converted = convert(context, path, entry.value);
  if (last !== undefined) ensureTable(context, path.slice(0, -1))[last] = converted;
}

function convert(context: Context, path: Path, node: AST.TOMLContentNode): unknown {
  const line = node.loc.start.line;
  context.lines.set(JSON.stringify(path), line);
  if (!requireUsablePath(context, path, line)) return undefined;
  if (node.type === 'TOMLArray') return node.elements.map((element, index) => convert(context, [...path, index], element));
  if (node.type === 'TOMLInlineTable') {
    ensureTable(context, path);
    for (const entry of node.body) addKeyValue(context, path, entry);
    return ensureTable(context, path);
  }
  if (node.kind === 'string' || node.kind === 'integer' || node.kind === 'boolean') return node.value;
  const last = path.at(-1);
  if ((node.kind === 'offset-date-time' || node.kind === 'local-date') && TIME_KEYS.includes(last!)) return node.datetime;
  if (node.kind === 'local-date-time' && TIME_KEYS.includes(last!)) {
    context.refuse(line, `${quote(String(last))} has no time zone; write it with one: ${node.datetime}Z`);
    return undefined;
  }
  context.refuse(
    line,
    `${quote(String(path.findLast((key) => typeof key === 'string')))} is a ${node.kind}; write a text, a whole number, true or false`,
  );
  return undefined;
}

function requireUsablePath(context: Context, path: Path, line: number): boolean {
  if (path.length <= MAX_DEPTH) return true;
  context.refuse(line, 'the file is nested too deeply; a policy has tables of simple values');
  return false;
}

function noteLines(context: Context, path: Path, line: number): void {
  for (let length = 1; length <= path.length; length += 1) {
    const key = JSON.stringify(path.slice(0, length));
    if (!context.lines.has(key)) context.lines.set(key, line);
  }
}

function lineOf(lines: ReadonlyMap<string, number>, path: Path): number {
  for (let length = path.length; length > 0; length -= 1) {
    const line = lines.get(JSON.stringify(path.slice(0, length)));
    if (line !== undefined) return line;
  }
  return 1;
}

/** Without a prototype, so that `__proto__` is a key like any other, and the schema refuses it. */
function emptyTable(): Table {
  return Object.create(null) as Table;
}

/** The table at this path, made with everything above it if need be. The parser has already refused paths that clash. */
function ensureTable(context: Context, path: Path): Table {
  let at = context.value;
  for (const [index, key] of path.entries()) {
    at[key] ??= typeof path[index + 1] === 'number' ? [] : emptyTable();
    at = at[key] as Table;
  }
  return at;
}
