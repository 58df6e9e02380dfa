import assert from 'node:assert/strict';
import { test } from 'node:test';
import { byteString } from './bytes.js';
import { isCanonical } from './canonical.js';
import { parseDump } from './dump-parser.js';
import { readFacts } from './facts.js';
import { readImage } from './reader.js';
import { type Node, isLink, makeNode } from './tree.js';
import { writeImage } from './writer.js';

const HEX = '0123456789abcdef'.repeat(4);
const DUMP = `/ 0 40755 2 0 0 0 0.0 - - - user.shared=1
/content 3 100644 1 0 0 0 0.0 - abc - user.shared=1 user.own=2
/dir 0 40755 2 0 0 0 0.0 - - -
/dir/chr 0 20000 1 0 0 5 0.0 - - -
/dir/gone 0 20000 1 0 0 0 0.0 - - -
/dir/hard - @100644 - - - - - /content
/dir/sub 0 40755 2 0 0 0 0.0 - - -
/extended 0 100644 1 70000 0 0 0.0 - - -
/full 2100 100644 1 0 0 0 0.0 - ${'f'.repeat(2100)} - trusted.yyyyyyy.redirect=/x
/node 0 60600 1 0 0 5 0.0 - - -
/object 70 100644 1 0 0 0 0.0 01/${HEX.slice(2)} - ${HEX}
/target 0 120777 1 0 0 0 0.0 abc - -
/zz 0 100644 1 0 0 0 0.0 - - - user.last=3
`;
const original = writeImage(parseDump(Buffer.from(DUMP)), 0);

/** A copy of the image with places by name. */
interface Copy {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Offset of the inode with this path; of a directory entry's record in its block. */
  inode(path: string): number;
  entry(directory: string, name: string): number;
  /** Offset of these bytes. */
  find(text: string): number;
}

function copyOf(image: Uint8Array): Copy {
  const bytes = image.slice();
  const view = new DataView(bytes.buffer);
  const root = view.getUint16(1024 + 14, true) * 32;
  const entry = (directory: string, name: string): number => {
    const inode = directory === '' ? root : copy.inode(directory);
    const size = view.getUint32(inode + 8, true);
    const head = (view.getUint16(inode, true) & 1) === 1 ? 64 : 32;
    const icount = view.getUint16(inode + 2, true);
    const inlineStart = inode + head + (icount === 0 ? 0 : 12 + 4 * (icount - 1));
    const start = view.getUint16(inode, true) >> 1 === 2 && size < 4096 ? inlineStart : view.getUint32(inode + 16, true) * 4096;
    const first = view.getUint16(start + 8, true);
    for (let at = start; at < start + first; at += 12) {
      const from = start + view.getUint16(at + 8, true);
      const end = at + 12 < start + first ? start + view.getUint16(at + 20, true) : from + name.length;
      if (Buffer.from(bytes.subarray(from, end)).toString() === name) return at;
    }
    throw new Error(`no ${name}`);
  };
  const copy: Copy = {
    bytes,
    view,
    entry,
    inode(path) {
      const slash = path.lastIndexOf('/');
      return view.getUint32(entry(path.slice(0, slash), path.slice(slash + 1)), true) * 32;
    },
    find: (text) => Buffer.from(bytes).indexOf(text, 0, 'latin1'),
  };
  return copy;
}

type Damage = (copy: Copy) => void;
const set16 =
  (at: (copy: Copy) => number, value: number): Damage =>
  (copy) =>
    copy.view.setUint16(at(copy), value, true);
const set32 =
  (at: (copy: Copy) => number, value: number): Damage =>
  (copy) =>
    copy.view.setUint32(at(copy), value, true);
const set8 =
  (at: (copy: Copy) => number, value: number): Damage =>
  (copy) =>
    copy.view.setUint8(at(copy), value);

const refusals: readonly (readonly [what: string, rule: string, damage: Damage])[] = [
  ['another magic', 'composefs-magic', set32(() => 0, 0)],
  ['version 2', 'composefs-version', set32(() => 12, 2)],
  ['an inode number outside the image', 'nid', set32((c) => c.entry('', 'content'), 0x7fffffff)],
  ['an inode number of 33 bits', 'nid', set32((c) => c.entry('', 'content') + 4, 1)],
  ['a layout that compresses', 'inode-format', set16((c) => c.inode('/content'), 1 << 1)],
  ['an unknown bit in the format', 'inode-format', set16((c) => c.inode('/content'), 0x14)],
  ['a reserved field of a compact inode', 'inode-reserved', set32((c) => c.inode('/content') + 12, 1)],
  ['a reserved field of an extended inode', 'inode-reserved', set8((c) => c.inode('/extended') + 63, 1)],
  ['an inode without a type', 'mode-type', set16((c) => c.inode('/content') + 4, 0o644)],
  [
    'inodes in another order than their numbers',
    'inode-order',
    (c) => {
      const [full, object] = [c.inode('/full'), c.inode('/object')];
      c.view.setUint32(c.entry('', 'full'), object / 32, true);
      c.view.setUint32(c.entry('', 'object'), full / 32, true);
      const ino = c.view.getUint32(full + 20, true);
      c.view.setUint32(full + 20, c.view.getUint32(object + 20, true), true);
      c.view.setUint32(object + 20, ino, true);
    },
  ],
  ['xattrs that reach behind the inodes', 'inode-bounds', set16((c) => c.inode('/extended') + 2, 0xffff)],
  ['a device with a size', 'inode-size', set32((c) => c.inode('/node') + 8, 1)],
  ['a directory of no bytes', 'inode-size', set32((c) => c.inode('/dir/sub') + 8, 0)],
  ['a directory larger than the image', 'inode-size', set32((c) => c.inode('/dir/sub') + 8, 0x7fffffff)],
  ['a target of 4096 bytes', 'target-length', set32((c) => c.inode('/target') + 8, 4096)],
  ['a target of no bytes', 'target-length', set32((c) => c.inode('/target') + 8, 0)],
  ['a target with a NUL', 'target-nul', set8((c) => c.inode('/target') + 33, 0)],
  ['content of 5001 bytes', 'content-length', set32((c) => c.inode('/content') + 8, 5001)],
  ['a tail of no bytes', 'inode-tail', set32((c) => c.inode('/content') + 8, 4096)],
  ['a tail across a block', 'inode-tail', set32((c) => c.inode('/content') + 8, 4095)],
  ['an external file of no bytes', 'external-size', set32((c) => c.inode('/object') + 8, 0)],
  ['a chunk size that does not follow', 'chunk-format', set32((c) => c.inode('/object') + 16, 1)],
  ['bits above the chunk size', 'chunk-format', set32((c) => c.inode('/object') + 16, 0x10000)],
  [
    'a chunk address',
    'chunk-table',
    set32((c) => c.inode('/object') + 32 + 12 + 4 * (c.view.getUint16(c.inode('/object') + 2, true) - 1), 1),
  ],
  ['data in the first block', 'data-blocks', set32((c) => c.inode('/full') + 16, 0)],
  ['data outside the image', 'data-blocks', set32((c) => c.inode('/full') + 16, 0xffffffff)],
  ['content without metacopy', 'metacopy-layout', (c) => c.bytes.set(Buffer.from('metakopy'), c.find('overlay.metacopy') + 8)],
  ['a metacopy of another algorithm', 'metacopy', set8((c) => c.find('metacopy') + 11, 3)],
  ['a relative redirect', 'redirect', set8((c) => c.find('overlay.redirect') + 16, 0x41)],
  ['a redirect of a file with content', 'redirect-type', (c) => c.bytes.set(Buffer.from('overlay'), c.find('yyyyyyy'))],
  ['an unescaped whiteout below the root', 'stub', set32((c) => c.inode('/dir/chr') + 16, 0)],
  ['a stub with two links', 'stub', set16((c) => c.inode('/7f') + 6, 2)],
  ['a first name inside the entries', 'directory-block', set16((c) => c.entry('/dir', '.') + 8, 13)],
  ['a first name behind the block', 'directory-block', set16((c) => c.entry('/dir', '.') + 8, 0xfffc)],
  ['names that overlap', 'directory-name', set16((c) => c.entry('/dir', '..') + 8, 0xffff)],
  ['a slash in a name', 'name-characters', set8((c) => c.find('gonehard'), 0x2f)],
  ['a NUL in a name', 'name-characters', set8((c) => c.find('gonehard'), 0)],
  ['names out of order', 'directory-order', set8((c) => c.find('gonehard'), 0x7a)],
  ['a name that is there twice', 'directory-order', (c) => c.bytes.set(Buffer.from('hardhard'), c.find('gonehard'))],
  ['bytes behind the last name', 'directory-padding', (c) => c.view.setUint8(c.find('gonehardsub') + 9, 0)],
  ['a reserved byte in a directory', 'directory-reserved', set8((c) => c.entry('/dir', 'hard') + 11, 1)],
  ['a wrong type in a directory', 'directory-type', set8((c) => c.entry('', 'content') + 10, 2)],
  ['a wrong type of a link', 'directory-type', set8((c) => c.entry('/dir', 'hard') + 10, 2)],
  ['. elsewhere', 'directory-dots', set32((c) => c.entry('/dir', '.'), 36)],
  ['.. elsewhere', 'directory-dots', (c) => c.view.setUint32(c.entry('/dir', '..'), c.inode('/dir') / 32, true)],
  ['no ..', 'directory-dots', set8((c) => c.find('...chr') + 2, 0x61)],
  [
    'a second name of a directory',
    'link-target',
    (c) => {
      c.view.setUint32(c.entry('/dir', 'hard'), c.inode('/dir') / 32, true);
      c.view.setUint8(c.entry('/dir', 'hard') + 10, 2);
    },
  ],
  ['a cycle', 'inode-count', set32((c) => c.entry('/dir', 'sub'), 36)],
  [
    'an entry that names no inode',
    'link-target',
    (c) => c.view.setUint32(c.entry('/dir', 'hard'), c.inode('/content') / 32 + 1, true),
  ],
  ['one inode fewer than claimed', 'inode-count', set32(() => 1024 + 16, original.length / 64)],
  ['a reserved byte in an xattr area', 'xattr-reserved', set8((c) => c.inode('/content') + 32 + 11, 1)],
  ['more shared xattrs than the area holds', 'xattr-bounds', set8((c) => c.inode('/content') + 32 + 4, 200)],
  ['a shared xattr outside the image', 'xattr-bounds', set32((c) => c.inode('/content') + 32 + 12, 0x7fffffff)],
  [
    'a shared xattr among the inodes',
    'xattr-shared',
    (c) =>
      c.view.setUint32(c.inode('/content') + 32 + 12, (c.find('last3') - 4 - c.view.getUint32(1024 + 44, true) * 4096) / 4, true),
  ],
  ['an unknown xattr prefix', 'xattr-prefix', set8((c) => c.find('own2') - 3, 5)],
  ['an xattr longer than its area', 'xattr-bounds', set16((c) => c.find('own2') - 2, 0x7fff)],
  ['a NUL in an xattr key', 'xattr-key', set8((c) => c.find('own2'), 0)],
];

for (const [what, rule, damage] of refusals) {
  test(`image refused: ${what}`, () => {
    const copy = copyOf(original);
    damage(copy);
    assert.throws(() => readImage(copy.bytes), { name: 'FormatError', rule });
  });
}

test('the undamaged image is read and canonical', () => {
  const { root, version, inodes } = readImage(original);
  assert.equal(version, 0);
  assert.equal(inodes, 256 + 12);
  const hard = root.children?.get(byteString('dir'));
  assert.ok(hard !== undefined && !isLink(hard));
  const link = hard.children?.get(byteString('hard'));
  assert.ok(link !== undefined && isLink(link));
  assert.equal(link.link, root.children?.get(byteString('content')));
  assert.ok(isCanonical(original));
});

test('an image over the caller’s limit is refused, at the limit it is read', () => {
  readImage(original, { maxSize: original.length });
  assert.throws(() => readImage(original, { maxSize: original.length - 1 }), { rule: 'image-size' });
});

const changes: readonly (readonly [what: string, damage: Damage])[] = [
  ['a name filter', set32((c) => c.inode('/content') + 32, 0)],
  ['the link count of a directory', set16((c) => c.inode('/dir') + 6, 9)],
  ['the ACL flag', set32(() => 8, 1)],
  ['build time of its own', set32(() => 1024 + 32, 7)],
  ['a byte between inodes and data', set8((c) => c.view.getUint32(36 * 32 + 16, true) * 4096 - 1, 1)],
  ['padding behind the data', set8((c) => c.bytes.length - 1, 1)],
  ['an xattr of overlayfs the format does not know', (c) => c.bytes.set(Buffer.from('overlay.abc'), c.find('overlay.opaque'))],
];

for (const [what, damage] of changes) {
  test(`image read, but not canonical: ${what}`, () => {
    const copy = copyOf(original);
    damage(copy);
    readImage(copy.bytes);
    assert.equal(isCanonical(copy.bytes), false);
  });
}

test('shared xattrs that overlap cannot blow up a small image', () => {
  // Files whose ids point at every fourth byte of one large value, made to look like entries of 64 KiB.
  const value = byteString('\x01\x01\xff\xff'.repeat(8000));
  const large = new Map([[byteString('user.x'), value]]);
  const root = makeNode({ mode: 0o40755, xattrs: large });
  const files = makeNode({ mode: 0o40755, xattrs: large });
  root.children?.set(byteString('dir'), files);
  for (let index = 0; index < 100; index += 1) {
    const xattrs = new Map([[byteString(`user.${String(index).padStart(4, '0')}`), byteString('s')]]);
    for (const name of ['a', 'b']) files.children?.set(byteString(`${name}${index}`), makeNode({ mode: 0o100644, xattrs }));
  }
  const copy = copyOf(writeImage(root, 0));
  const start = copy.find('\x01\x01\xff\xff');
  const table = copy.view.getUint32(1024 + 44, true) * 4096;
  for (let index = 0; index < 100; index += 1)
    copy.view.setUint32(copy.inode(`/dir/a${index}`) + 32 + 12, (start - table) / 4 + index, true);
  assert.throws(() => readImage(copy.bytes), { name: 'FormatError', rule: /^xattr-(shared|bounds)$/ });
});

test('directories nested 5000 deep are written, read and listed', () => {
  const root = makeNode({ mode: 0o40755 });
  let directory: Node = root;
  for (let depth = 0; depth < 5000; depth += 1) {
    const next = makeNode({ mode: 0o40755 });
    directory.children?.set(byteString('d'), next);
    directory = next;
  }
  const image = writeImage(root, 0);
  assert.ok(isCanonical(image));
  assert.equal(readFacts(image).entries, 5001);
});

test('facts: devices, set-id bits, capabilities, owners, and what objects are needed', () => {
  const dump = `/ 0 40755 2 0 0 0 0.0 - - -
/cap 0 100755 1 9 70000 0 0.0 - - - security.capability=x
/dev 0 20600 1 0 0 1 0.0 - - -
/gone 0 20600 1 0 0 0 0.0 - - -
/good 70 104755 1 80000 0 0 0.0 ${HEX.slice(0, 2)}/${HEX.slice(2)} - ${HEX}
/good2 70 102755 1 0 0 0 0.0 ${HEX.slice(0, 2)}/${HEX.slice(2)} - ${HEX}
/link - @100644 - - - - - /good
/none 70 100755 1 0 0 0 0.0 some/where - -
/off 71 100755 1 0 0 0 0.0 some/where - ${HEX}
/setgid 0 42755 2 0 0 0 0.0 - - -
`;
  const { objects, ...facts } = readFacts(writeImage(parseDump(Buffer.from(dump)), 1));
  assert.deepEqual(facts, {
    version: 1,
    canonical: true,
    entries: 10,
    devices: 1,
    setUid: 1,
    setGid: 1,
    fileCapabilities: 1,
    largestUid: 80000,
    largestGid: 70000,
    unpinned: 1,
    misdirected: 2,
    escaping: 0,
  });
  assert.deepEqual(
    objects.map(({ digest, path, size }) => [digest, path, size]),
    [
      [`sha256:${HEX}`, `${HEX.slice(0, 2)}/${HEX.slice(2)}`, 70n],
      [undefined, 'some/where', 70n],
      [`sha256:${HEX}`, 'some/where', 71n],
    ],
  );
});

test('SHA-512 digests are written and read', () => {
  const dump = `/ 0 40755 2 0 0 0 0.0 - - -\n/a 70 100644 1 0 0 0 0.0 ${HEX.slice(0, 2)}/${HEX.slice(2)}${HEX} - ${HEX}${HEX}\n`;
  const facts = readFacts(writeImage(parseDump(Buffer.from(dump)), 0));
  assert.equal(facts.objects[0]?.digest, `sha512:${HEX}${HEX}`);
  assert.deepEqual([facts.canonical, facts.misdirected], [true, 0]);
});
