// Keys put into a TOML file and taken out again: what `remove…` takes out is what `add…` has put in, and nothing else.
import type { AST } from 'toml-eslint-parser';
import {
  type Edit,
  MARK,
  type Path,
  type TomlFile,
  endOfLine,
  findEntry,
  findTable,
  isMarked,
  parseTomlFile,
  startOfLine,
  wholeLine,
  applyEdits,
} from './toml-file.js';

/** A line `key = value` in the table, marked as ours; the table is made at the end if it is missing. The key must not be there. */
export function addEntry({ text, ...file }: TomlFile, path: Path, value: string): string {
  const [table, key] = [path.slice(0, -1), path.at(-1)!];
  const line = `${key} = ${value} ${MARK}`;
  const header = findTable({ text, ...file }, table);
  if (header !== undefined) {
    const end = endOfLine(text, header.key.range[1]);
    return applyEdits(text, [{ from: end, to: end, text: `\n${line}` }]);
  }
  const gap = text === '' ? '' : text.endsWith('\n') ? '\n' : '\n\n';
  return `${text}${gap}[${table.join('.')}] ${MARK}\n${line}\n`;
}

/** Takes out a line that is marked as ours, and then its table if that is ours and empty. Other lines stay. */
export function removeEntry(file: TomlFile, path: Path): string {
  const entry = findEntry(file, path);
  if (entry === undefined || !isMarked(file.text, entry.range[1])) return file.text;
  const text = applyEdits(file.text, [wholeLine(file.text, entry.range[0])]);
  return removeEmptyTable(parseTomlFile('', text), path.slice(0, -1));
}

function removeEmptyTable(file: TomlFile, path: Path): string {
  const { text } = file;
  const table = findTable(file, path);
  if (table === undefined || table.body.length > 0 || !isMarked(text, table.range[0])) return text;
  const line = wholeLine(text, table.range[0]);
  // The blank line before it is ours, too.
  const from = text.slice(0, line.from).endsWith('\n\n') || line.from === 1 ? line.from - 1 : line.from;
  return applyEdits(text, [{ ...line, from }]);
}

/** A text as the last element of an array that is there. */
export function addElement({ text }: TomlFile, array: AST.TOMLArray, value: string): string {
  const quoted = quoteToml(value);
  const last = array.elements.at(-1);
  if (last === undefined) return applyEdits(text, [{ from: array.range[0] + 1, to: array.range[0] + 1, text: quoted }]);
  const end = last.range[1];
  const comma = commaBehind(text, end, array.range[1]);
  if (startOfLine(text, last.range[0]) <= array.range[0]) {
    return applyEdits(text, [{ from: end, to: end, text: `, ${quoted}` }]);
  }
  const indent = /^\s*/.exec(text.slice(startOfLine(text, last.range[0]), last.range[0]))?.[0] ?? '';
  const lineEnd = Math.min(endOfLine(text, comma ?? end), array.range[1] - 1);
  const edits: Edit[] = [{ from: lineEnd, to: lineEnd, text: `\n${indent}${quoted}${comma === undefined ? '' : ','}` }];
  if (comma === undefined) edits.push({ from: end, to: end, text: ',' });
  return lineEnd === end && comma === undefined
    ? applyEdits(text, [{ from: end, to: end, text: `,\n${indent}${quoted}` }])
    : applyEdits(text, edits);
}

/** Takes the element at an index out of an array. */
export function removeElement({ text }: TomlFile, array: AST.TOMLArray, index: number): string {
  const element = array.elements[index]!;
  const [start, end] = element.range;
  const comma = commaBehind(text, end, array.range[1]);
  const before = array.elements[index - 1];
  const lineStart = startOfLine(text, start);
  const isOwnLine = lineStart > array.range[0] && text.slice(lineStart, start).trim() === '';
  if (isOwnLine && comma !== undefined) return applyEdits(text, [{ from: lineStart - 1, to: comma + 1, text: '' }]);
  if (before === undefined) {
    const next = array.elements[index + 1];
    return applyEdits(text, [{ from: start, to: next?.range[0] ?? (comma === undefined ? end : comma + 1), text: '' }]);
  }
  const commaBefore = commaBehind(text, before.range[1], start)!;
  if (!isOwnLine) return applyEdits(text, [{ from: before.range[1], to: end, text: '' }]);
  return applyEdits(text, [
    { from: commaBefore, to: commaBefore + 1, text: '' },
    { from: lineStart - 1, to: end, text: '' },
  ]);
}

/** Where the comma stands between two offsets, comments left out; undefined if there is none. */
function commaBehind(text: string, from: number, to: number): number | undefined {
  for (let at = from; at < to; at += 1) {
    if (text[at] === ',') return at;
    if (text[at] === '#') at = endOfLine(text, at);
  }
  return undefined;
}

/** A basic string: TOML 1.0, "String". JSON escapes what it must escape in the same way. */
export function quoteToml(text: string): string {
  return JSON.stringify(text).replaceAll('\u007F', '\\u007F');
}
