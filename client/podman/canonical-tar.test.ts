import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

import { byteString } from '../../core/image/bytes.js';
import { BLK, CHR, DIR, FIFO, LNK, type Node, REG, SOCK, makeNode } from '../../core/image/tree.js';
import { canonicalTar } from './canonical-tar.js';
import { TAR_END, paddingOf } from './tar-header.js';

const mode = (type: number, permissions: number): number => (type << 12) | permissions;

function directory(children: Readonly<Record<string, Node | { link: Node }>>, given: Partial<Node> = {}): Node {
  const entries = Object.entries(children).map(([name, node]) => [byteString(name), node] as const);
  return makeNode({ mode: mode(DIR, 0o755), children: new Map(entries), ...given });
}

const file = (content: string, given: Partial<Node> = {}): Node =>
  makeNode({ mode: mode(REG, 0o644), content: content === '' ? undefined : byteString(content), ...given });

function archiveOf(root: Node): Buffer {
  const pieces: Buffer[] = [];
  for (const { header, payload } of canonicalTar(root)) {
    pieces.push(header);
    if (payload?.content !== undefined) pieces.push(Buffer.from(payload.content, 'latin1'), paddingOf(payload.size));
  }
  return Buffer.concat([...pieces, TAR_END]);
}

/** What GNU tar says is in it. */
function listed(root: Node): string[] {
  const { status, stdout, stderr } = spawnSync('tar', ['--numeric-owner', '--full-time', '--utc', '-tvf', '-'], {
    input: archiveOf(root),
  });
  assert.deepEqual([status, stderr.toString()], [0, '']);
  return stdout
    .toString('latin1')
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/ +/g, ' '));
}

test('tar lists every kind of file as it is, in the order of the bytes of their names', () => {
  const root = directory({
    b: directory({ c: file('c'), a: file('') }),
    'b-': file('before b/ in bytes, behind it in the tree'),
    B: makeNode({ mode: mode(LNK, 0o777), target: byteString('b/c') }),
    fifo: makeNode({ mode: mode(FIFO, 0o600) }),
    null: makeNode({ mode: mode(CHR, 0o666), rdev: (1 << 8) | 3 }),
    disk: makeNode({ mode: mode(BLK, 0o660), rdev: (259 << 8) | 0x12 | (0x345 << 20) }),
    socket: makeNode({ mode: mode(SOCK, 0o700) }),
    suid: file('x', { mode: mode(REG, 0o4755), uid: 1000, gid: 2000, mtime: 86_400n }),
  });
  assert.deepEqual(listed(root), [
    'drwxr-xr-x 0/0 0 1970-01-01 00:00:00 ./',
    'lrwxrwxrwx 0/0 0 1970-01-01 00:00:00 B -> b/c',
    'drwxr-xr-x 0/0 0 1970-01-01 00:00:00 b/',
    '-rw-r--r-- 0/0 0 1970-01-01 00:00:00 b/a',
    '-rw-r--r-- 0/0 1 1970-01-01 00:00:00 b/c',
    '-rw-r--r-- 0/0 41 1970-01-01 00:00:00 b-',
    `brw-rw---- 0/0 259,${0x34512} 1970-01-01 00:00:00 disk`,
    'prw------- 0/0 0 1970-01-01 00:00:00 fifo',
    'crw-rw-rw- 0/0 1,3 1970-01-01 00:00:00 null',
    '-rwsr-xr-x 1000/2000 1 1970-01-02 00:00:00 suid',
  ]);
});

test('the first name of a file in the archive is the file, whichever is the first in the tree', () => {
  const node = file('twice', { nlink: 3 });
  const root = directory({ z: node, a: directory({ name: { link: node } }), m: { link: node } });
  assert.deepEqual(
    listed(root).map((line) => line.split(' ').slice(0, 1).concat(line.split(' ').slice(5)).join(' ')),
    ['drwxr-xr-x ./', 'drwxr-xr-x a/', '-rw-r--r-- a/name', 'hrw-r--r-- m link to a/name', 'hrw-r--r-- z link to a/name'],
  );
});

for (const [what, length] of [
  ['ustar', 100],
  ['pax', 101],
  ['pax, long', 255],
] as const)
  test(`names and targets of ${length} bytes (${what})`, () => {
    const name = 'n'.repeat(length);
    const root = directory({
      [name]: file('x'),
      link: makeNode({ mode: mode(LNK, 0o777), target: byteString('t'.repeat(length * 4)) }),
    });
    const [, link = '', long = ''] = listed(root);
    assert.ok(link.endsWith(`link -> ${'t'.repeat(length * 4)}`));
    assert.ok(long.endsWith(name));
  });

for (const [what, given, shown] of [
  ['the largest ids of ustar', { uid: 0o7777777, gid: 0o7777777 }, '2097151/2097151 1 1970-01-01 00:00:00'],
  ['ids beyond', { uid: 0o10000000, gid: 4_294_967_294 }, '2097152/4294967294 1 1970-01-01 00:00:00'],
  ['a fraction of a second', { mtimeNsec: 500_000_000 }, '0/0 1 1970-01-01 00:00:00.5'],
  ['before 1970', { mtime: -86_400n }, '0/0 1 1969-12-31 00:00:00'],
  ['beyond the seconds of ustar', { mtime: 0o100000000000n }, '0/0 1 2242-03-16 12:56:32'],
] as const)
  test(`attributes: ${what}`, () => {
    assert.equal(listed(directory({ f: file('x', given) }))[1], `-rw-r--r-- ${shown} f`);
  });

// As GNU tar writes it; what it shows of such a time is another one.
test('half a second before -1 is -1.5', () => {
  const text = archiveOf(directory({ f: file('x', { mtime: -2n, mtimeNsec: 500_000_000 }) })).toString('latin1');
  assert.ok(text.includes('14 mtime=-1.5\n'));
});

test('extended attributes are pax records, in the order of their names, of any bytes', () => {
  const xattrs = new Map([
    [byteString('user.b'), byteString('\0\u00ff\n')],
    [byteString('security.capability'), byteString('\u0001')],
    [byteString('user.a=b'), byteString('no form')],
  ]);
  const text = archiveOf(directory({ f: file('x', { xattrs }) })).toString('latin1');
  assert.ok(/38 SCHILY\.xattr\.security\.capability=\u0001\n27 SCHILY\.xattr\.user\.b=\0\u00ff\n\n/.test(text));
  assert.ok(!text.includes('no form'));
});

test('names that are no UTF-8 keep their bytes', () => {
  assert.match(listed(directory({ 'caf\u00e9': file('x') }))[1] ?? '', /caf\\351$/);
});

test('the archive is the same for the same tree, whatever the order in memory', () => {
  const [a, b] = [file('a'), file('b')];
  assert.deepEqual(archiveOf(directory({ a, b })), archiveOf(directory({ b, a })));
});
