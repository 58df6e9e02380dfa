// What a header, and the extension headers before it, say of one entry.
import { FormatError } from '../../../core/image/format-error.js';
import { type TarHeader, parseTarHeader } from './header.js';
import { parsePax } from './pax.js';

export type TarKind = 'file' | 'link' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo';

/** Strings hold one byte in a character (latin1), and are as they stand in the archive. */
export interface TarEntry {
  readonly kind: TarKind;
  readonly path: string;
  /** Target of a link, hard or symbolic; else without meaning. */
  readonly link: string;
  /** Permissions. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes that follow; 0 for all but files. */
  readonly size: number;
  /** Seconds, and nanoseconds on top of them. */
  readonly mtime: number;
  readonly mtimeNsec: number;
  readonly major: number;
  readonly minor: number;
  readonly xattrs: ReadonlyMap<string, string>;
}

/** What follows a header block. */
export type Following =
  | { readonly is: 'entry'; readonly entry: TarEntry }
  /** So many bytes that `takeExtension` is to have. */
  | { readonly is: 'extension'; readonly size: number }
  | { readonly is: 'end' };

export interface EntryAssembler {
  /** Throws FormatError. */
  takeHeader(block: Buffer): Following;
  takeExtension(bytes: Buffer): void;
  /** Throws FormatError if an extension header is left that belongs to nothing. */
  end(): void;
}

const KINDS: Readonly<Record<string, TarKind>> = {
  '\0': 'file',
  '0': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'character',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
  '7': 'file', // contiguous
};

/** x and g: POSIX; L and K: GNU. */
const EXTENSIONS: Readonly<Record<string, { readonly what: string; readonly limit: number }>> = {
  x: { what: 'extended header', limit: 1 << 20 },
  g: { what: 'global extended header', limit: 1 << 16 },
  L: { what: 'long name', limit: 8192 },
  K: { what: 'long link name', limit: 8192 },
};

const REFUSED: Readonly<Record<string, string>> = {
  S: 'a sparse file (GNU)',
  M: 'a file that goes on from another volume',
  N: 'a long name of an old form',
  V: 'the label of a volume',
  D: 'a dumped directory (GNU)',
};

export function createEntryAssembler(): EntryAssembler {
  let pax: ReadonlyMap<string, string> | undefined;
  let longName: string | undefined;
  let longLink: string | undefined;
  let awaited = '';

  const takeExtensionHeader = (flag: string, size: number): Following => {
    const { what, limit } = EXTENSIONS[flag] as { what: string; limit: number };
    if (size > limit) throw new FormatError('tar-extension-size', `a ${what} has ${size} bytes, more than ${limit}`);
    const twice = { x: pax, L: longName, K: longLink, g: undefined }[flag] !== undefined;
    if (twice) throw new FormatError('tar-extension-twice', `there are two headers of the kind ${what} for one entry`);
    awaited = flag;
    return { is: 'extension', size };
  };
  const requireNothingPending = (): void => {
    if ((pax ?? longName ?? longLink) !== undefined)
      throw new FormatError('tar-extension-alone', 'an extension header belongs to no entry');
  };

  return {
    takeHeader(block) {
      const header = parseTarHeader(block);
      if (header === undefined) {
        requireNothingPending();
        return { is: 'end' };
      }
      if (Object.hasOwn(EXTENSIONS, header.typeFlag)) return takeExtensionHeader(header.typeFlag, header.size);
      if (longName !== undefined && pax?.has('path') === true)
        throw new FormatError('tar-name-twice', 'an entry has two names, of POSIX and of GNU tar');
      if (longLink !== undefined && pax?.has('linkpath') === true)
        throw new FormatError('tar-name-twice', 'an entry has two targets, of POSIX and of GNU tar');
      const entry = entryOf({ ...header, name: longName ?? header.name, link: longLink ?? header.link }, pax ?? NO_RECORDS);
      pax = longName = longLink = undefined;
      return { is: 'entry', entry };
    },
    takeExtension(bytes) {
      if (awaited === 'g') requireHarmless(parsePax(bytes));
      else if (awaited === 'x') pax = parsePax(bytes);
      else if (awaited === 'L') longName = longText(bytes);
      else longLink = longText(bytes);
    },
    end: requireNothingPending,
  };
}

const NO_RECORDS: ReadonlyMap<string, string> = new Map();

/** Programs differ in what they make of global headers; git writes a comment. */
function requireHarmless(records: ReadonlyMap<string, string>): void {
  const [key] = [...records.keys()].filter((each) => each !== 'comment');
  if (key === undefined) return;
  throw new FormatError('tar-global', 'a global extended header holds more than a comment');
}

function longText(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  if (end < 0) return bytes.toString('latin1');
  if (bytes.subarray(end).some((byte) => byte !== 0)) throw new FormatError('tar-long-name', 'a long name holds a NUL');
  return bytes.toString('latin1', 0, end);
}

function entryOf(header: TarHeader, pax: ReadonlyMap<string, string>): TarEntry {
  const path = textOf(pax, 'path') ?? header.name;
  const size = numberOf(pax, 'size', Number.MAX_SAFE_INTEGER) ?? header.size;
  const kind = kindOf(header.typeFlag, path, pax);
  if (kind !== 'file' && size !== 0)
    throw new FormatError(
      'tar-size-of-kind',
      `a header of a ${kind} says that ${size} bytes follow: programs differ in what they make of that`,
    );
  return {
    kind,
    path,
    link: textOf(pax, 'linkpath') ?? header.link,
    mode: header.mode & 0o7777,
    uid: requireId(numberOf(pax, 'uid', MAX_ID) ?? header.uid),
    gid: requireId(numberOf(pax, 'gid', MAX_ID) ?? header.gid),
    size,
    ...timeOf(pax, header.mtime),
    major: header.major,
    minor: header.minor,
    xattrs: xattrsOf(pax),
  };
}

function kindOf(flag: string, path: string, pax: ReadonlyMap<string, string>): TarKind {
  for (const key of pax.keys())
    if (key.startsWith('GNU.sparse.') || key.startsWith('SUN.holesdata'))
      throw new FormatError('tar-sparse', 'a sparse file (POSIX)');
  const charset = pax.get('hdrcharset');
  if (charset !== undefined && charset !== 'BINARY' && charset !== 'ISO-IR 10646 2000 UTF-8')
    throw new FormatError('tar-charset', 'an extended header has an unknown character set');
  const kind = Object.hasOwn(KINDS, flag) ? KINDS[flag] : undefined;
  if (kind === undefined) {
    const what = REFUSED[flag] ?? `an entry of an unknown type (byte 0x${flag.charCodeAt(0).toString(16)})`;
    throw new FormatError(flag === 'S' ? 'tar-sparse' : 'tar-type', what);
  }
  // Before there was a type for directories.
  return kind === 'file' && path.endsWith('/') ? 'directory' : kind;
}

/** An empty value takes the header's own place again. */
function textOf(pax: ReadonlyMap<string, string>, key: string): string | undefined {
  return pax.get(key) || undefined;
}

function numberOf(pax: ReadonlyMap<string, string>, key: string, most: number): number | undefined {
  const text = textOf(pax, key);
  if (text === undefined) return undefined;
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (value <= most) return value;
  throw new FormatError('pax-number', `the ${key} in an extended header is no number, or too large`);
}

/** The last one means "no user" to chown(2). */
const MAX_ID = 0xffff_fffe;

function requireId(id: number): number {
  if (id <= MAX_ID) return id;
  throw new FormatError('tar-id', `a user or group id is larger than ${MAX_ID}`);
}

function timeOf(pax: ReadonlyMap<string, string>, mtime: number): Pick<TarEntry, 'mtime' | 'mtimeNsec'> {
  const text = textOf(pax, 'mtime');
  if (text === undefined) return { mtime, mtimeNsec: 0 };
  const [, sign = '', whole = '', fraction = ''] = /^(-?)(\d{1,15})(?:\.(\d{1,32}))?$/.exec(text) ?? [];
  if (whole === '') throw new FormatError('pax-number', 'the mtime in an extended header is no time');
  const nanoseconds = Number(fraction.padEnd(9, '0').slice(0, 9));
  if (sign === '') return { mtime: Number(whole), mtimeNsec: nanoseconds };
  return nanoseconds === 0
    ? { mtime: 0 - Number(whole), mtimeNsec: 0 }
    : { mtime: -Number(whole) - 1, mtimeNsec: 1_000_000_000 - nanoseconds };
}

const XATTR = 'SCHILY.xattr.';
const NO_XATTRS: ReadonlyMap<string, string> = new Map();

function xattrsOf(pax: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  let xattrs: Map<string, string> | undefined;
  for (const [key, value] of pax) if (key.startsWith(XATTR)) (xattrs ??= new Map()).set(key.slice(XATTR.length), value);
  return xattrs ?? NO_XATTRS;
}
