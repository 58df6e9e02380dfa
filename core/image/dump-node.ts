import { type ByteString, bytesOfHex } from './bytes.js';
import { unescapeField } from './dump-escape.js';
import { CONTENT, DIGEST, type DumpFields, GID, MTIME, NLINK, PAYLOAD, RDEV, SIZE, UID, isDash } from './dump-fields.js';
import { parseDecimal, parseTime, parseU32 } from './dump-number.js';
import { type DumpSource, dumpError } from './dump-source.js';
import { type XattrCache, parseDumpXattrs } from './dump-xattrs.js';
import {
  BLK,
  CHR,
  DIR,
  LNK,
  MAX_CONTENT,
  MAX_EXTERNAL_SIZE,
  MAX_PAYLOAD,
  MAX_TARGET,
  type Entry,
  type Node,
  REG,
} from './tree.js';

const MAX_U64 = 2n ** 64n - 1n;

/** One line being read. */
export interface DumpLine {
  readonly source: DumpSource;
  readonly fields: DumpFields;
  readonly cache: XattrCache;
  /** Also refuse what only a sloppy writer produces. */
  readonly strict: boolean;
}

/** Reads a line that is not a link into a node; a DIR has no children yet. */
export function parseNode(line: DumpLine, mode: number): Node {
  const { source, fields } = line;
  const type = mode >> 12;
  const number = (index: number, what: string): number => parseU32(source, fields.from[index] ?? 0, fields.to[index] ?? 0, what);
  const stated = parseDecimal(source, fields.from[SIZE] ?? 0, fields.to[SIZE] ?? 0, MAX_U64, 'size');
  const nlink = number(NLINK, 'nlink');
  const uid = number(UID, 'uid');
  const gid = number(GID, 'gid');
  const rdev = requireRdev(line, type, number(RDEV, 'rdev'));
  const time = parseTime(source, fields.from[MTIME] ?? 0, fields.to[MTIME] ?? 0);
  const payload = parsePayload(line, type);
  const content = parseContent(line, type, stated);
  const size = type === LNK ? requireTargetSize(line, stated, payload) : type === DIR ? 0n : stated;
  const external = type === REG && size > 0n && content === undefined;
  if (external && size > MAX_EXTERNAL_SIZE) throw fault(line, SIZE, 'external-size', 'a file has at most 2^53 bytes');
  const digest = parseDigest(line, type, external);
  return {
    mode,
    nlink,
    uid,
    gid,
    rdev,
    size,
    mtime: time.seconds,
    mtimeNsec: time.nanoseconds,
    target: type === LNK ? payload : undefined,
    content,
    payload: external ? payload : undefined,
    digest,
    xattrs: parseDumpXattrs(source, fields.rest, line.cache),
    children: type === DIR ? new Map<ByteString, Entry>() : undefined,
  };
}

/** The error for field `index`. */
export function fault(line: DumpLine, index: number, rule: string, message: string): Error {
  return dumpError(line.source, line.fields.from[index] ?? 0, rule, message);
}

/** Bytes of an optional field; undefined for `-`. */
export function optionalField(line: DumpLine, index: number): ByteString | undefined {
  if (isDash(line.source, line.fields, index)) return undefined;
  return unescapeField(line.source, line.fields.from[index] ?? 0, line.fields.to[index] ?? 0);
}

function requireRdev(line: DumpLine, type: number, rdev: number): number {
  if (type === CHR || type === BLK) return rdev;
  if (line.strict && rdev !== 0) throw fault(line, RDEV, 'strict-rdev', 'only devices have a device number');
  return 0;
}

function parsePayload(line: DumpLine, type: number): ByteString | undefined {
  const payload = optionalField(line, PAYLOAD);
  if (type === LNK) return requireTarget(line, payload);
  if (payload === undefined || payload === '') return undefined;
  if (type !== REG) throw fault(line, PAYLOAD, 'payload-type', 'only regular files have a payload');
  if (payload.length > MAX_PAYLOAD) throw fault(line, PAYLOAD, 'payload-length', `a payload has at most ${MAX_PAYLOAD} bytes`);
  if (payload.includes('\0')) throw fault(line, PAYLOAD, 'payload-nul', 'a payload holds a NUL');
  return payload;
}

function requireTarget(line: DumpLine, target: ByteString | undefined): ByteString {
  if (target === undefined || target === '') throw fault(line, PAYLOAD, 'target-missing', 'a symbolic link needs a target');
  if (target.length > MAX_TARGET)
    throw fault(line, PAYLOAD, 'target-length', `a target has at most ${MAX_TARGET} bytes, this one ${target.length}`);
  if (target.includes('\0')) throw fault(line, PAYLOAD, 'target-nul', 'a target holds a NUL');
  return target;
}

function requireTargetSize(line: DumpLine, stated: bigint, target: ByteString | undefined): bigint {
  const size = BigInt(target?.length ?? 0);
  if (line.strict && stated !== size)
    throw fault(line, SIZE, 'strict-target-size', `the size must be ${size}, the length of the target`);
  return size;
}

function parseContent(line: DumpLine, type: number, stated: bigint): ByteString | undefined {
  const content = optionalField(line, CONTENT);
  if (content === undefined) return undefined;
  if (type !== LNK && content.length > MAX_CONTENT)
    throw fault(line, CONTENT, 'content-length', `the content has at most ${MAX_CONTENT} bytes, here ${content.length}`);
  if (stated !== BigInt(content.length))
    throw fault(line, SIZE, 'content-size', `the size must be ${content.length}, the length of the content`);
  if (content === '') return undefined;
  if (type === REG) return content;
  if (type !== LNK) throw fault(line, CONTENT, 'content-type', 'only regular files have content');
  if (line.strict) throw fault(line, CONTENT, 'strict-target-content', 'a symbolic link has no content');
  return undefined;
}

/** The digest of a file that is not external leaves no trace in an image and is not looked at. */
function parseDigest(line: DumpLine, type: number, external: boolean): ByteString | undefined {
  const hex = optionalField(line, DIGEST);
  if (hex === undefined) return undefined;
  if (type !== REG && hex !== '') throw fault(line, DIGEST, 'digest-type', 'only regular files have a digest');
  if (!external) return undefined;
  // 128 digits are SHA-512, which the format's own tool cannot write.
  const known = hex.length === 64 || (hex.length === 128 && !line.strict);
  if (!known) throw fault(line, DIGEST, 'dump-digest', 'a digest has 64 hex digits (128 for SHA-512, not in strict mode)');
  const digest = bytesOfHex(hex);
  if (digest === undefined) throw fault(line, DIGEST, 'dump-digest', 'a digest consists of hex digits');
  return digest;
}
