import { type ByteString, toByteString } from './bytes.js';
import { unescapeField } from './dump-escape.js';
import { type DumpSource, dumpError } from './dump-source.js';
import { MAX_XATTR_KEY, MAX_XATTR_VALUE, MAX_XATTRS_SIZE, NO_XATTRS } from './tree.js';

const SPACE = 0x20;
const EQUALS = 0x3d;

/** Most files of a tree have one of a few security labels: equal xattrs are parsed and kept once. */
export type XattrCache = Map<ByteString, ReadonlyMap<ByteString, ByteString>>;

/** Longer texts are not worth the comparison, and the cache must not grow with the dump. */
const MAX_CACHED_TEXT = 512;
const MAX_CACHED = 1024;

/** Reads the KEY=VALUE items from `start` to the end of the current line. A repeated key replaces the earlier value. */
export function parseDumpXattrs(source: DumpSource, start: number, cache: XattrCache): ReadonlyMap<ByteString, ByteString> {
  if (start >= source.lineEnd) return NO_XATTRS;
  if (source.lineEnd - start > MAX_CACHED_TEXT) return parseItems(source, start);
  const text = toByteString(source.bytes, start, source.lineEnd);
  let xattrs = cache.get(text);
  if (xattrs === undefined) {
    xattrs = parseItems(source, start);
    if (cache.size < MAX_CACHED) cache.set(text, xattrs);
  }
  return xattrs;
}

function parseItems(source: DumpSource, start: number): ReadonlyMap<ByteString, ByteString> {
  const xattrs = new Map<ByteString, ByteString>();
  let size = 12;
  for (let at = start; at < source.lineEnd;) {
    const end = endOfItem(source, at);
    const equals = source.bytes.indexOf(EQUALS, at);
    if (equals < 0 || equals >= end) throw dumpError(source, at, 'dump-xattr', 'an xattr must be KEY=VALUE');
    const key = requireKey(source, at, unescapeField(source, at, equals));
    const value = unescapeField(source, equals + 1, end);
    if (value.length > MAX_XATTR_VALUE)
      throw dumpError(source, equals + 1, 'xattr-value-length', `an xattr value has at most ${MAX_XATTR_VALUE} bytes`);
    const replaced = xattrs.get(key);
    size += replaced === undefined ? 7 + key.length + value.length : value.length - replaced.length;
    if (size > MAX_XATTRS_SIZE)
      throw dumpError(source, at, 'xattrs-size', `the xattrs of one file count ${size} bytes, more than ${MAX_XATTRS_SIZE}`);
    xattrs.set(key, value);
    at = end + 1;
  }
  return xattrs;
}

function endOfItem(source: DumpSource, at: number): number {
  let end = at;
  while (end < source.lineEnd && source.bytes[end] !== SPACE) end += 1;
  if (end === at) throw dumpError(source, at, 'dump-xattr', 'two spaces in a row make an empty xattr');
  return end;
}

function requireKey(source: DumpSource, at: number, key: ByteString): ByteString {
  if (key === '') throw dumpError(source, at, 'xattr-key-empty', 'an xattr key is empty');
  if (key.length > MAX_XATTR_KEY)
    throw dumpError(source, at, 'xattr-key-length', `an xattr key has at most ${MAX_XATTR_KEY} bytes, this one ${key.length}`);
  if (key.includes('\0')) throw dumpError(source, at, 'xattr-key-nul', 'an xattr key holds a NUL');
  return key;
}
