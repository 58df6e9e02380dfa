import type { ByteString } from './bytes.js';
import { unescapeField } from './dump-escape.js';
import { MODE, PATH, PAYLOAD, newDumpFields, splitLine } from './dump-fields.js';
import { type PendingLink, resolveLinks } from './dump-links.js';
import { type DumpLine, fault, optionalField, parseNode } from './dump-node.js';
import { parseMode } from './dump-number.js';
import { type PathFinder, createPathFinder } from './dump-paths.js';
import { dumpError } from './dump-source.js';
import { FormatError } from './format-error.js';
import { DIR, type Link, type Node, TYPES } from './tree.js';

export interface DumpOptions {
  /** Also refuse what only a sloppy writer produces: no LF at the end, device numbers or sizes where they mean nothing, SHA-512 digests. Default false. */
  readonly strict?: boolean;
}

const LF = 0x0a;
const AT = 0x40;

/**
 * Reads a composefs dump file (composefs-dump(5)) into a tree and returns its root. Time and memory grow linearly with `bytes`.
 * Throws FormatError with the line and column of the fault.
 */
export function parseDump(bytes: Uint8Array, options: DumpOptions = {}): Node {
  const line: DumpLine = {
    source: { bytes, line: 0, lineStart: 0, lineEnd: -1 },
    fields: newDumpFields(),
    cache: new Map(),
    strict: options.strict ?? false,
  };
  let nul = bytes.indexOf(0);
  if (nul < 0) nul = bytes.length;
  if (!enterLine(line, nul)) throw new FormatError('dump-empty', 'the dump has no lines', { line: 1, column: 1 });
  const root = parseRoot(line);
  const finder = createPathFinder(root);
  const pending: PendingLink[] = [];
  while (enterLine(line, nul)) addEntry(line, finder, pending);
  resolveLinks(root, pending);
  return root;
}

/** Goes to the next line and cuts it into fields; false at the end of the file. `nul` is the offset of the first NUL. */
function enterLine(line: DumpLine, nul: number): boolean {
  const { source, fields, strict } = line;
  source.lineStart = source.lineEnd + 1;
  if (source.lineStart >= source.bytes.length) return false;
  source.line += 1;
  const end = source.bytes.indexOf(LF, source.lineStart);
  source.lineEnd = end < 0 ? source.bytes.length : end;
  if (source.lineEnd === source.lineStart) throw dumpError(source, source.lineStart, 'dump-empty-line', 'a line is empty');
  if (nul < source.lineEnd) throw dumpError(source, nul, 'dump-nul', 'a line holds a NUL byte');
  if (strict && end < 0)
    throw dumpError(source, source.lineEnd, 'strict-last-newline', 'the last line does not end in a newline');
  splitLine(source, fields);
  return true;
}

function parseRoot(line: DumpLine): Node {
  if (parsePath(line) !== '/') throw fault(line, PATH, 'dump-root', 'the first line must be the root directory, /');
  const { mode, link } = parseType(line);
  if (link || mode >> 12 !== DIR) throw fault(line, MODE, 'dump-root', 'the root must be a directory');
  return parseNode(line, mode);
}

function addEntry(line: DumpLine, finder: PathFinder, pending: PendingLink[]): void {
  const path = parsePath(line);
  if (path === '/') throw fault(line, PATH, 'dump-root', 'the root directory is listed twice');
  const { children, name } = finder.find(line.source, line.fields.from[PATH] ?? 0, path);
  const { mode, link } = parseType(line);
  if (!link) {
    children.set(name, parseNode(line, mode));
    return;
  }
  const next = parseLink(line);
  children.set(name, next.entry as Link);
  pending.push(next);
}

function parsePath(line: DumpLine): ByteString {
  const path = unescapeField(line.source, line.fields.from[PATH] ?? 0, line.fields.to[PATH] ?? 0);
  if (path.includes('\0')) throw fault(line, PATH, 'dump-path', 'a path holds a NUL');
  return path;
}

function parseType(line: DumpLine): { mode: number; link: boolean } {
  const { source, fields } = line;
  const from = fields.from[MODE] ?? 0;
  const link = source.bytes[from] === AT;
  const mode = parseMode(source, link ? from + 1 : from, fields.to[MODE] ?? 0);
  if (!TYPES.has(mode >> 12)) throw fault(line, MODE, 'mode-type', 'the mode has no file type or an unknown one');
  if (link && mode >> 12 === DIR) throw fault(line, MODE, 'link-to-directory', 'a link cannot name a directory');
  return { mode, link };
}

/** Of a link, path and payload count; the other fields are not looked at. */
function parseLink(line: DumpLine): PendingLink {
  const targetPath = optionalField(line, PAYLOAD);
  if (targetPath === undefined) throw fault(line, PAYLOAD, 'link-target', 'a link needs the path it names as its payload');
  if (targetPath.includes('\0')) throw fault(line, PAYLOAD, 'link-target', 'the path that a link names holds a NUL');
  const column = (line.fields.from[PAYLOAD] ?? 0) - line.source.lineStart + 1;
  return { entry: { link: undefined }, targetPath, position: { line: line.source.line, column } };
}
