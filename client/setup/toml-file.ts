// A TOML file of somebody else's as text: what stands where, so that a line can be put in or taken out and the rest stays as it is.
import { isDeepStrictEqual } from 'node:util';
import { type AST, ParseError, getStaticTOMLValue, parseTOML } from 'toml-eslint-parser';
import { RequestError } from '../../core/wire/errors.js';

/** Ends each line that cfsctl has put in. */
export const MARK = '# cfsctl setup podman';

export type Path = readonly string[];
export type Values = Readonly<Record<string, unknown>>;

export interface TomlFile {
  readonly text: string;
  readonly program: AST.TOMLProgram;
  readonly values: Values;
}

/** Throws `RequestError` BadRequest with file and line. */
export function parseTomlFile(name: string, text: string): TomlFile {
  if (text.startsWith('\uFEFF'))
    // Measured: podman says so beside its output, and goes on without the file.
    throw new RequestError('BadRequest', `${name} begins with a byte order mark`, {
      hint: 'take it out: podman 4.3 does not read the file with it',
    });
  try {
    const program = parseTOML(text, { tomlVersion: '1.0' });
    return { text, program, values: getStaticTOMLValue(program) };
  } catch (cause) {
    if (cause instanceof ParseError)
      throw new RequestError('BadRequest', `${name}:${cause.lineNumber}: not valid TOML: ${cause.message}`, {
        hint: 'mend the line first: podman cannot read the file either',
        cause,
      });
    if (cause instanceof RangeError) throw new RequestError('BadRequest', `${name} is nested too deeply`, { cause });
    throw cause;
  }
}

export function valueAt(values: Values, path: Path): unknown {
  let value: unknown = values;
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Values)[key];
  }
  return value;
}

/** The line `key = value` at this path, if it stands in a table or at the top; what is in an inline table is not found. */
export function findEntry({ program }: TomlFile, path: Path): AST.TOMLKeyValue | undefined {
  for (const node of program.body[0].body) {
    const found = node.type === 'TOMLTable' ? node.body.find((entry) => isAt(entry, node.resolvedKey, path)) : undefined;
    if (found !== undefined) return found;
    if (node.type === 'TOMLKeyValue' && isAt(node, [], path)) return node;
  }
  return undefined;
}

function isAt(entry: AST.TOMLKeyValue, table: readonly (string | number)[], path: Path): boolean {
  const full = [...table, ...entry.key.keys.map((key) => (key.type === 'TOMLBare' ? key.name : key.value))];
  return full.length === path.length && full.every((key, index) => key === path[index]);
}

/** The header `[path]`. */
export function findTable({ program }: TomlFile, path: Path): AST.TOMLTable | undefined {
  return program.body[0].body
    .filter((node) => node.type === 'TOMLTable')
    .find((node) => node.kind === 'standard' && node.resolvedKey.join('\0') === path.join('\0'));
}

export interface Edit {
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

/** Edits that do not overlap, in any order. */
export function applyEdits(text: string, edits: readonly Edit[]): string {
  return [...edits]
    .sort((a, b) => b.from - a.from)
    .reduce((before, { from, to, text: inserted }) => before.slice(0, from) + inserted + before.slice(to), text);
}

/** Offset behind the last character of the line, its line end not counted. */
export function endOfLine(text: string, offset: number): number {
  const end = text.indexOf('\n', offset);
  return end < 0 ? text.length : end;
}

export function startOfLine(text: string, offset: number): number {
  return text.lastIndexOf('\n', offset - 1) + 1;
}

/** The line an offset is in, with its line end. */
export function wholeLine(text: string, offset: number): Edit {
  return { from: startOfLine(text, offset), to: Math.min(text.length, endOfLine(text, offset) + 1), text: '' };
}

export function isMarked(text: string, offset: number): boolean {
  return text.slice(startOfLine(text, offset), endOfLine(text, offset)).trimEnd().endsWith(MARK);
}

/** Whether nothing but the mark stands behind an element of an array, on its line. */
export function isElementMarked(text: string, { range: [, end] }: AST.TOMLContentNode): boolean {
  return (
    text
      .slice(end, endOfLine(text, end))
      .replace(/^[ \t]*,?/, '')
      .trim() === MARK
  );
}

/** The same lines, as somebody else's: without the marks. */
export function withoutMarks({ text, values }: TomlFile): string {
  const bare = text.replaceAll(new RegExp(`[ \\t]*${MARK}[ \\t]*(?=\\r?$)`, 'gm'), '');
  // The words may stand in a text of several lines.
  return isDeepStrictEqual(parseTomlFile('', bare).values, values) ? bare : text;
}
