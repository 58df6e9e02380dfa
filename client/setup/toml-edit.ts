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
  const { from } = wholeLine(file.text, entry.range[0]);
  const text = applyEdits(file.text, [{ ...wholeLine(file.text, entry.range[1]), from }]);
  return removeEmptyTable(parseTomlFile('', text), path.slice(0, -1));
}

function removeEmptyTable(file: TomlFile, path: Path): string {
  const { text } = file;
  const table = findTable(file, path);
  if (table === undefined || table.body.length > 0 || !isMarked(text, table.range[0])) return text;
  const line = wholeLine(text, table.range[0]);
  // The blank line before it is ours, too; on top of the file, the one before what comes next.
  const from = text.slice(0, line.from).endsWith('\n\n') || line.from === 1 ? line.from - 1 : line.from;
  const to = from === 0 && line.from === 0 && text[line.to] === '\n' ? line.to + 1 : line.to;
  return applyEdits(text, [{ ...line, from, to }]);
}

/** A text as the last element of an array that is there, with a mark of its own: the line ends behind it. */
export function addElement({ text }: TomlFile, array: AST.TOMLArray, value: string): string {
  const last = array.elements.at(-1);
  const close = array.range[1] - 1;
  const comma = last && commaBehind(text, last.range[1], close);
  const element = `${quoteToml(value)}${comma === undefined ? '' : ','} ${MARK}\n`;
  const line = startOfLine(text, close);
  if (line <= array.range[0] || !isBlank(text.slice(line, close))) {
    const at = comma === undefined ? (last?.range[1] ?? array.range[0] + 1) : comma + 1;
    const gap = last === undefined ? '' : comma === undefined ? ', ' : ' ';
    return applyEdits(text, [{ from: at, to: at, text: gap + element }]);
  }
  // The bracket stands on a line of its own, and so does what is put in.
  const indent = /^[ \t]*/.exec(text.slice(startOfLine(text, last?.range[0] ?? line)))![0];
  const edits: Edit[] = [{ from: line, to: line, text: `${indent}${element}` }];
  if (last !== undefined && comma === undefined) edits.push({ from: last.range[1], to: last.range[1], text: ',' });
  return applyEdits(text, edits);
}

/** Takes out what `addElement` has put in, at an index. */
export function removeMarkedElement({ text }: TomlFile, array: AST.TOMLArray, index: number): string {
  const [start, end] = array.elements[index]!.range;
  const to = endOfLine(text, end) + 1;
  const hasComma = commaBehind(text, end, to) !== undefined;
  const before = array.elements[index - 1];
  const comma = before && commaBehind(text, before.range[1], start)!;
  const line = startOfLine(text, start);
  if (!isBlank(text.slice(line, start))) {
    const from = comma === undefined ? start : hasComma ? comma + 1 : comma;
    return applyEdits(text, [{ from, to, text: '' }]);
  }
  const edits: Edit[] = [{ from: line, to, text: '' }];
  if (comma !== undefined && !hasComma) edits.push({ from: comma, to: comma + 1, text: '' });
  return applyEdits(text, edits);
}

function isBlank(text: string): boolean {
  return text.trim() === '';
}

/** Takes the element at an index out of an array, whatever stands beside it. */
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
