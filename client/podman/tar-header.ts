// Headers of a canonical tar archive: ustar, with pax records for what its fields cannot hold. POSIX.1-2017, pax.
import type { ByteString } from '../../core/image/bytes.js';
import { BLK, CHR, DIR, FIFO, LNK, type Node, REG, typeOf } from '../../core/image/tree.js';

export const TAR_BLOCK = 512;

const MAX_NAME = 100;
/** Seven octal digits, of ids and device numbers. */
const MAX_ID = 0o7777777;
/** Eleven octal digits, of sizes and seconds. */
const MAX_LONG = 0o77777777777n;
const NO_TIME = 0n;

/** typeflag, by file type; sockets have none. */
const FLAGS: Readonly<Record<number, string>> = { [REG]: '0', [LNK]: '2', [CHR]: '3', [BLK]: '4', [DIR]: '5', [FIFO]: '6' };
const HARD_LINK = '1';
const PAX = 'x';

/** False for sockets, which tar has no form for. */
export function hasTarForm(node: Node): boolean {
  return typeOf(node) in FLAGS;
}

/** Bytes of the payload that follows the header. */
export function payloadSize(node: Node): bigint {
  return typeOf(node) === REG ? node.size : 0n;
}

/** The header of a file, with the pax header it needs before it. `path` is as in the archive, directories with a slash at the end. */
export function fileHeader(path: ByteString, node: Node): Buffer {
  return header(path, node, { flag: FLAGS[typeOf(node)] as string, target: node.target ?? '', size: payloadSize(node) });
}

/** The header of a further name of a file whose first name stands in the archive already. */
export function linkHeader(path: ByteString, node: Node, target: ByteString): Buffer {
  return header(path, { ...node, xattrs: new Map() }, { flag: HARD_LINK, target, size: 0n });
}

/** Zeros behind a payload, up to a whole block. */
export function paddingOf(size: bigint): Buffer {
  return Buffer.alloc((TAR_BLOCK - Number(size % BigInt(TAR_BLOCK))) % TAR_BLOCK);
}

/** What stands at the end of the archive. */
export const TAR_END = Buffer.alloc(2 * TAR_BLOCK);

interface Form {
  readonly flag: string;
  readonly target: string;
  readonly size: bigint;
}

function header(path: ByteString, node: Node, form: Form): Buffer {
  const block = ustar(path, node, form);
  const records = paxRecords(path, node, form);
  if (records.length === 0) return block;
  const body = Buffer.concat(records);
  const pax = ustarFields({
    name: 'pax',
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: body.length,
    mtime: 0n,
    flag: PAX,
    target: '',
    rdev: 0,
  });
  return Buffer.concat([pax, body, paddingOf(BigInt(body.length)), block]);
}

function ustar(path: ByteString, node: Node, { flag, target, size }: Form): Buffer {
  return ustarFields({
    name: fitsName(path) ? path : path.slice(0, MAX_NAME),
    mode: node.mode & 0o7777,
    uid: fitsId(node.uid) ? node.uid : 0,
    gid: fitsId(node.gid) ? node.gid : 0,
    size: Number(fitsLong(size) ? size : 0n),
    mtime: fitsLong(node.mtime) ? node.mtime : NO_TIME,
    flag,
    target: fitsName(target) ? target : target.slice(0, MAX_NAME),
    rdev: flag === FLAGS[CHR] || flag === FLAGS[BLK] ? node.rdev : 0,
  });
}

/** What the fields above cannot say, in a fixed order. */
function paxRecords(path: ByteString, node: Node, { target, size }: Form): Buffer[] {
  const records: Buffer[] = [];
  const add = (key: string, value: string): void => void records.push(paxRecord(key, value));
  if (node.mtimeNsec !== 0 || !fitsLong(node.mtime)) add('mtime', formatTime(node));
  if (!fitsName(path)) add('path', path);
  if (!fitsName(target)) add('linkpath', target);
  if (!fitsLong(size)) add('size', size.toString());
  if (!fitsId(node.uid)) add('uid', node.uid.toString());
  if (!fitsId(node.gid)) add('gid', node.gid.toString());
  for (const [key, value] of [...node.xattrs].sort(([a], [b]) => (a < b ? -1 : 1)))
    // A pax record ends its key with the first `=`: such names have no form.
    if (!key.includes('=')) add(`SCHILY.xattr.${key}`, value);
  return records;
}

/** `length key=value\n`, where the length counts itself. */
function paxRecord(key: string, value: string): Buffer {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (`${length}`.length + rest.length !== length) length = `${length}`.length + rest.length;
  return Buffer.from(`${length}${rest}`, 'latin1');
}

/** Seconds with their fraction, as a decimal number: -1.5 is half a second before -1. */
function formatTime({ mtime, mtimeNsec }: Node): string {
  const total = mtime * 1_000_000_000n + BigInt(mtimeNsec);
  const positive = total < 0n ? -total : total;
  const fraction = (positive % 1_000_000_000n).toString().padStart(9, '0').replace(/0+$/, '');
  return `${total < 0n ? '-' : ''}${positive / 1_000_000_000n}${fraction === '' ? '' : `.${fraction}`}`;
}

function fitsName(name: string): boolean {
  return name.length <= MAX_NAME;
}

function fitsId(id: number): boolean {
  return id <= MAX_ID;
}

function fitsLong(value: bigint): boolean {
  return value >= 0n && value <= MAX_LONG;
}

interface Fields {
  readonly name: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: bigint;
  readonly flag: string;
  readonly target: string;
  readonly rdev: number;
}

/** As Linux packs it: 12 bits of the major number from bit 8 on, the minor's low 8 bits and its other 12 above. */
function majorOf(rdev: number): number {
  return (rdev >>> 8) & 0xfff;
}

function minorOf(rdev: number): number {
  return (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
}

function ustarFields({ name, mode, uid, gid, size, mtime, flag, target, rdev }: Fields): Buffer {
  const block = Buffer.alloc(TAR_BLOCK);
  const octal = (value: number | bigint, offset: number, digits: number): void =>
    void block.write(value.toString(8).padStart(digits, '0'), offset, 'latin1');
  block.write(name, 0, MAX_NAME, 'latin1');
  octal(mode, 100, 7);
  octal(uid, 108, 7);
  octal(gid, 116, 7);
  octal(size, 124, 11);
  octal(mtime, 136, 11);
  block.write(flag, 156, 'latin1');
  block.write(target, 157, MAX_NAME, 'latin1');
  block.write('ustar\u000000', 257, 'latin1');
  octal(majorOf(rdev), 329, 7);
  octal(minorOf(rdev), 337, 7);
  block.fill(' ', 148, 156);
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    6,
  );
  block[154] = 0;
  return block;
}
