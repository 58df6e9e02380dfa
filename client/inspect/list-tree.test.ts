import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDump } from '../../core/image/dump-parser.js';
import { RequestError } from '../../core/wire/errors.js';
import { formatJsonArray } from '../output.js';
import { findPath } from './find-path.js';
import { describeEntry, formatLine, formatMode, listTree } from './list-tree.js';
import { showBytes } from './shown-bytes.js';

const root = parseDump(
  Buffer.from(
    [
      '/ 0 40755 2 0 0 0 0.0 - - -',
      '/b 5 100644 2 1 2 0 1.5 - hello -',
      '/a 0 41777 2 0 0 0 0.0 - - -',
      '/a/z 0 10600 1 0 0 0 0.0 - - -',
      '/a/y 0 40700 2 0 0 0 0.0 - - -',
      '/a/y/deep 0 @100644 1 0 0 0 0.0 /b - -',
      `/big 9007199254740992 106755 1 4294967295 0 0 99999999999999.0 ab/c - ${'0f'.repeat(32)}`,
      '/dev 0 20600 1 0 0 1048838 -1.0 - - -',
      '/li\\xffnk 5 120777 1 0 0 0 0.0 /a/y\\x1b - -',
      '',
    ].join('\n'),
  ),
);

const list = (path: string, recursive = false): string[] =>
  [...listTree(findPath(root, path), recursive)].map((found) => showBytes(found.path));

test('a directory is listed in the order of its names, without what is below', () => {
  assert.deepEqual(list('/'), ['/a', '/b', '/big', '/dev', '/li\\xffnk']);
  assert.deepEqual(list('a'), ['/a/y', '/a/z']);
  assert.deepEqual(list('//a/./y//'), ['/a/y/deep']);
});

test('recursive: depth first, every entry once, links among them', () => {
  assert.deepEqual(list('/', true), ['/a', '/a/y', '/a/y/deep', '/a/z', '/b', '/big', '/dev', '/li\\xffnk']);
  assert.deepEqual(list('/a', true), ['/a/y', '/a/y/deep', '/a/z']);
});

test('what is not a directory is itself', () => {
  assert.deepEqual(list('/b'), ['/b']);
  assert.deepEqual(list('/li\\xffnk', true), ['/li\\xffnk']);
});

const missing: [path: string, message: RegExp, hint: RegExp | undefined][] = [
  ['/nope', /^no such path in the image: \/nope$/, undefined],
  ['/b/x', /: \/b\/x$/, undefined],
  ['/a/../b', /: \/a\/\.\.$/, undefined],
  ['/li\\xffnk/x', /: \/li\\xffnk\/x$/, /^\/li\\xffnk is a symbolic link to \/a\/y\\x1b; /],
  ['/\\', /backslash/, /as \\\\/],
];
for (const [path, message, hint] of missing) {
  test(`no such path: ${path}`, () => {
    assert.throws(
      () => findPath(root, path),
      (error) =>
        error instanceof RequestError &&
        message.test(error.message) &&
        (hint?.test(error.hint ?? '') ?? error.hint === undefined),
    );
  });
}

test('lines as of ls -l: types, modes, devices, times beyond any calendar, targets', () => {
  const lines = [...listTree(findPath(root, '/'), false)].map(({ node, path }) => formatLine(node, path));
  assert.match(lines[0]!, /^drwxrwxrwt +3 +0 +0 +- \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \/a\n$/);
  assert.match(lines[1]!, /^-rw-r--r-- +2 +1 +2 +5 .* \/b\n$/);
  assert.match(lines[2]!, /^-rwsr-sr-x +1 4294967295 +0 9007199254740992 @99999999999999 +\/big\n$/);
  assert.match(lines[3]!, /^crw------- +1 +0 +0 +1, 262 \d/);
  assert.match(lines[4]!, /^lrwxrwxrwx .* \/li\\xffnk -> \/a\/y\\x1b\n$/);
});

const modes: [mode: number, text: string][] = [
  [0o104644, '-rwSr--r--'],
  [0o102654, '-rw-r-sr--'],
  [0o41776, 'drwxrwxrwT'],
  [0o60000, 'b---------'],
  [0o140001, 's--------x'],
  [0o10070, 'p---rwx---'],
];
for (const [mode, text] of modes) test(`mode ${mode.toString(8)} is ${text}`, () => assert.equal(formatMode(mode), text));

test('as JSON: 64-bit numbers as strings, what does not apply is null', () => {
  const entries = JSON.parse(
    [...formatJsonArray([...listTree(findPath(root, '/'), false)].map(describeEntry))].join(''),
  ) as object[];
  const common = { uid: 0, gid: 0, mtimeNsec: 0, target: null, object: null, digest: null };
  assert.deepEqual(entries, [
    { ...common, path: '/a', type: 'directory', mode: '1777', nlink: 3, size: null, device: null, mtime: '0' },
    {
      ...common,
      path: '/b',
      type: 'file',
      mode: '0644',
      nlink: 2,
      uid: 1,
      gid: 2,
      size: '5',
      device: null,
      mtime: '1',
      mtimeNsec: 5,
    },
    {
      ...common,
      path: '/big',
      type: 'file',
      mode: '6755',
      nlink: 1,
      uid: 4294967295,
      size: '9007199254740992',
      device: null,
      mtime: '99999999999999',
      object: 'ab/c',
      digest: `sha256:${'0f'.repeat(32)}`,
    },
    { ...common, path: '/dev', type: 'character', mode: '0600', nlink: 1, size: '0', device: '1:262', mtime: '-1' },
    {
      ...common,
      path: '/li\\xffnk',
      type: 'symlink',
      mode: '0777',
      nlink: 1,
      size: '5',
      device: null,
      mtime: '0',
      target: '/a/y\\x1b',
    },
  ]);
});

test('an empty directory is an empty list', () => {
  const empty = parseDump(Buffer.from('/ 0 40755 2 0 0 0 0.0 - - -\n'));
  assert.equal([...formatJsonArray(listTree(findPath(empty, '/'), true))].join(''), '[]\n');
});
