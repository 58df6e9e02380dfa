// Longer than 300 lines: two tables, an entry after the other.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ROOT_NID,
  type SmallEntry,
  type SmallImage,
  type SmallInode,
  directoryBlock,
  makeSmallErofs,
  rootWith,
  xattrArea,
  xattrEntry,
} from '../../test/support/small-erofs.js';
import { readErofsFacts } from './erofs-facts.js';
import { FormatError } from './format-error.js';
import { sourceOf } from './image-bytes.js';

const FILE = 0o100644;
const DIR = 0o40755;
const NID = 60;
const SB = 1024;

const facts = (image: Uint8Array): ReturnType<typeof readErofsFacts> => readErofsFacts(sourceOf(image));
const withFile = (inode: Partial<SmallInode>, more: Partial<SmallImage> = {}): SmallImage => {
  const mode = inode.mode ?? FILE;
  return { inodes: [rootWith([['f', NID, mode]]), { nid: NID, mode, ...inode }], ...more };
};
const u32 = (value: number): Uint8Array => Buffer.from(Uint32Array.of(value).buffer);
const u16 = (value: number): Uint8Array => Buffer.from(Uint16Array.of(value).buffer);
const dots = (self: number, parent: number): SmallEntry[] => [
  ['.', self, DIR],
  ['..', parent, DIR],
];
const directory = (nid: number, parent: number, entries: readonly SmallEntry[]): SmallInode => ({
  nid,
  mode: DIR,
  tail: directoryBlock([...dots(nid, parent), ...entries]),
});

const taken: readonly (readonly [what: string, image: SmallImage, expected: Partial<ReturnType<typeof readErofsFacts>>])[] = [
  ['an empty root', { inodes: [rootWith([])] }, { entries: 1, devices: 0 }],
  ['a file of no blocks that is a hole', withFile({ size: 40_000, locator: 0xffffffff }), { entries: 2 }],
  ['a device', withFile({ mode: 0o60600, locator: 0x800 }), { devices: 1 }],
  ['a character device', withFile({ mode: 0o20600, locator: 1 }), { devices: 1 }],
  ['a whiteout is no device', withFile({ mode: 0o20600, locator: 0 }), { devices: 0 }],
  ['a block device 0/0 is one', withFile({ mode: 0o60600, locator: 0 }), { devices: 1 }],
  ['set-id bits of a file', withFile({ mode: 0o106755 }), { setUid: 1, setGid: 1 }],
  ['set-id bits of a link do not count', withFile({ mode: 0o126777, tail: Buffer.from('t') }), { setUid: 0, setGid: 0 }],
  [
    'ids of 32 bits',
    withFile({ extended: { upper: 0 }, uid: 4294967295, gid: 70000 }),
    { largestUid: 4294967295, largestGid: 70000 },
  ],
  [
    'one file of three names',
    {
      inodes: [
        rootWith([
          ['a', NID, 0o104755],
          ['b', NID, 0o104755],
          ['c', NID, 0o104755],
        ]),
        { nid: NID, mode: 0o104755 },
      ],
    },
    { entries: 4, setUid: 1 },
  ],
  ['a capability', withFile({ xattrs: xattrArea([], [xattrEntry(6, 'capability', 'x')]) }), { fileCapabilities: 1 }],
  [
    'a capability behind others',
    withFile({ xattrs: xattrArea([], [xattrEntry(1, 'a', 'b'), xattrEntry(6, 'capability', '')]) }),
    { fileCapabilities: 1 },
  ],
  [
    'a capability in the shared table',
    withFile({ xattrs: xattrArea([1024], []) }, { put: { 4096: xattrEntry(6, 'capability', 'x') } }),
    { fileCapabilities: 1 },
  ],
  [
    'a capability that the name filter denies',
    withFile(
      { xattrs: xattrArea([], [xattrEntry(6, 'capability', 'x')]) },
      { put: { [NID * 32 + 32]: u32(0xffffffff), [SB + 8]: u32(4) } },
    ),
    { fileCapabilities: 1 },
  ],
  [
    'no capability of another prefix',
    withFile({
      xattrs: xattrArea(
        [],
        [xattrEntry(1, 'capability', 'x'), xattrEntry(6, 'capabilit', 'x'), xattrEntry(6, 'capability2', 'x')],
      ),
    }),
    { fileCapabilities: 0 },
  ],
  [
    'no capability of a link',
    withFile({ mode: 0o120777, tail: Buffer.from('t'), xattrs: xattrArea([], [xattrEntry(6, 'capability', 'x')]) }),
    { fileCapabilities: 0 },
  ],
  ...['', 'capa', 'capability'].map(
    (infix) =>
      [
        `a capability behind a prefix of the image's own, "${infix}"`,
        withFile(
          { xattrs: xattrArea([], [xattrEntry(0x81, 'capability'.slice(infix.length), 'x')]) },
          {
            put: {
              4096: longPrefixes([
                [1, 'capa'],
                [6, infix],
              ]),
              [SB + 91]: Uint8Array.of(2),
              [SB + 92]: u32(1024),
            },
          },
        ),
        { fileCapabilities: 1 },
      ] as const,
  ),
  [
    'no capability behind such a prefix of another name',
    withFile(
      { xattrs: xattrArea([], [xattrEntry(0x80, 'bility', 'x')]) },
      {
        put: {
          4096: longPrefixes([
            [1, 'capa'],
            [6, 'capa'],
          ]),
          [SB + 91]: Uint8Array.of(2),
          [SB + 92]: u32(1024),
        },
      },
    ),
    { fileCapabilities: 0 },
  ],
  [
    'a plain directory of two blocks',
    {
      inodes: [
        { nid: ROOT_NID, mode: DIR, layout: 0, locator: 1, size: 4096 + 13 },
        { nid: NID, mode: FILE },
      ],
      blocks: 3,
      put: { 4096: directoryBlock([...dots(ROOT_NID, ROOT_NID), ['a', NID, FILE]]), 8192: directoryBlock([['b', NID, FILE]]) },
    },
    { entries: 3 },
  ],
  [
    'chunks, with a hole',
    withFile({ layout: 4, size: 8192, locator: 0 }, { put: { [NID * 32 + 32]: Buffer.concat([u32(1), u32(0xffffffff)]) } }),
    { entries: 2 },
  ],
];

function longPrefixes(prefixes: readonly (readonly [base: number, infix: string])[]): Uint8Array {
  const items = prefixes.map(([base, infix]) => {
    const item = Buffer.alloc(Math.ceil((3 + infix.length) / 4) * 4);
    item.writeUInt16LE(1 + infix.length, 0);
    item.writeUInt8(base, 2);
    item.write(infix, 3, 'latin1');
    return item;
  });
  return Buffer.concat(items);
}

for (const [what, image, expected] of taken) {
  test(`plain EROFS: ${what}`, () => {
    const all = facts(makeSmallErofs(image));
    for (const [name, value] of Object.entries(expected)) assert.equal(all[name as keyof typeof all], value, name);
  });
}

const hidden = { [SB + 96]: u32(70), [SB + 80]: u32(0x60), [SB + 91]: Uint8Array.of(1), [SB + 92]: u32(1024) };
const packed: SmallInode = { nid: 70, mode: FILE };

const refused: readonly (readonly [what: string, rule: string, image: SmallImage])[] = [
  [
    'metadata that are compressed',
    'feature-metabox',
    withFile(
      {},
      {
        put: {
          [SB + 80]: u32(0x100),
          [SB + 13]: Uint8Array.of(1),
          [SB + 14]: u16(NID),
          [SB + 128]: Buffer.concat([u32(NID), u32(0)]),
        },
      },
    ),
  ],
  ['the 48-bit layout', 'feature-48bit', withFile({}, { put: { [SB + 80]: u32(0x80) } })],
  ['an unknown feature that must be known', 'feature-incompat', withFile({}, { put: { [SB + 80]: u32(0x200) } })],
  ['an unknown feature of the other kind', 'feature-compat', withFile({}, { put: { [SB + 8]: u32(0x40) } })],
  ['shared xattrs elsewhere', 'feature-compat', withFile({}, { put: { [SB + 8]: u32(0x08) } })],
  ['a root that is a file', 'root-type', { inodes: [{ nid: ROOT_NID, mode: FILE }] }],
  ['no type', 'mode-type', withFile({ mode: 0o644 })],
  ['an inode of the 48-bit layout', 'inode-format', withFile({}, { put: { [NID * 32]: u16(1 << 4) } })],
  ['an unknown layout', 'inode-format', withFile({ layout: 5 })],
  ['a nid outside the image', 'nid', { inodes: [rootWith([['f', 256, FILE]])] }],
  ['a nid of more than 32 bits', 'nid', withFile({}, { put: { [ROOT_NID * 32 + 32 + 2 * 12 + 4]: u32(1) } })],
  ['a nid in the superblock', 'nid', { inodes: [rootWith([['f', 35, FILE]])] }],
  [
    'an inode that leaves the image',
    'inode-bounds',
    { inodes: [rootWith([['f', 255, FILE]]), { nid: 255, mode: FILE }], put: { [255 * 32 + 2]: u16(2) } },
  ],
  ['data outside the image', 'data-blocks', withFile({ size: 4097, locator: 1 })],
  ['a block number that wraps', 'data-blocks', withFile({ size: 4096, locator: 0xfffffffe })],
  ['upper bits of a block number', 'inode-reserved', withFile({ extended: { upper: 1 }, size: 10, locator: 1 })],
  ['a size of 2^53', 'inode-size', withFile({ extended: { upper: 0 }, size: 2 ** 53, layout: 4 })],
  ['a device with a size', 'inode-size', withFile({ mode: 0o60600, size: 1, locator: 1 })],
  ['a device in chunks', 'inode-size', withFile({ mode: 0o60600, layout: 4 })],
  ['an empty link', 'inode-size', withFile({ mode: 0o120777 })],
  ['a link of 4096 bytes', 'inode-size', withFile({ mode: 0o120777, size: 4096, locator: 1 })],
  ['a link in chunks', 'inode-layout', withFile({ mode: 0o120777, size: 5, layout: 4 })],
  ['an empty directory', 'inode-size', withFile({ mode: DIR })],
  ['a directory in chunks', 'inode-layout', withFile({ mode: DIR, size: 40, layout: 4 })],
  ['a compressed directory', 'inode-layout', withFile({ mode: DIR, size: 40, layout: 3 })],
  ['a directory larger than the image', 'inode-size', withFile({ mode: DIR, size: 8193, locator: 1 })],
  ['a whole block as a tail', 'inode-tail', withFile({ mode: DIR, size: 4096, layout: 2, locator: 1 })],
  ['a tail across blocks', 'inode-tail', withFile({ size: 4000, layout: 2 })],
  ['a chunk format of the 48-bit layout', 'chunk-format', withFile({ layout: 4, size: 4096, locator: 0x40 })],
  ['a table of chunks that leaves the image', 'chunk-table', withFile({ layout: 4, size: 4096 * 2000, locator: 0 })],
  ['a chunk outside the image', 'chunk-table', withFile({ layout: 4, size: 4096 }, { put: { [NID * 32 + 32]: u32(2) } })],
  [
    'a chunk on another device',
    'chunk-table',
    withFile({ layout: 4, size: 4096, locator: 0x20 }, { put: { [NID * 32 + 32]: Buffer.concat([u32(0x10000), u32(1)]) } }),
  ],
  [
    'a compressed file at the end of the image',
    'inode-bounds',
    { inodes: [rootWith([['f', 255, FILE]]), { nid: 255, mode: FILE, layout: 3, size: 9 }] },
  ],
  [
    'a directory under two names',
    'directory-twice',
    {
      inodes: [
        rootWith([
          ['a', NID, DIR],
          ['b', NID, DIR],
        ]),
        directory(NID, ROOT_NID, []),
      ],
    },
  ],
  [
    'a directory that holds itself',
    'directory-twice',
    { inodes: [rootWith([['a', NID, DIR]]), directory(NID, ROOT_NID, [['x', NID, DIR]])] },
  ],
  [
    'a directory that holds the root',
    'directory-twice',
    { inodes: [rootWith([['a', NID, DIR]]), directory(NID, ROOT_NID, [['x', ROOT_NID, DIR]])] },
  ],
  ['another type than the inode has', 'directory-type', { inodes: [rootWith([['f', NID, FILE]]), { nid: NID, mode: 0o60600 }] }],
  [
    'a second name of another type',
    'directory-type',
    {
      inodes: [
        rootWith([
          ['f', NID, FILE],
          ['g', NID, 0o60600],
        ]),
        { nid: NID, mode: FILE },
      ],
    },
  ],
  [
    'names out of order',
    'directory-order',
    {
      inodes: [
        rootWith([
          ['g', NID, FILE],
          ['f', NID, FILE],
        ]),
        { nid: NID, mode: FILE },
      ],
    },
  ],
  [
    'one name twice',
    'directory-order',
    {
      inodes: [
        rootWith([
          ['f', NID, FILE],
          ['f', NID, FILE],
        ]),
        { nid: NID, mode: FILE },
      ],
    },
  ],
  ['a slash in a name', 'name-characters', { inodes: [rootWith([['a/b', NID, FILE]]), { nid: NID, mode: FILE }] }],
  ['no ..', 'directory-dots', { inodes: [{ nid: ROOT_NID, mode: DIR, tail: directoryBlock([['.', ROOT_NID, DIR]]) }] }],
  ['.. that is not the parent', 'directory-dots', { inodes: [rootWith([['a', NID, DIR]]), directory(NID, NID, [])] }],
  [
    'an xattr that leaves its area',
    'xattr-bounds',
    withFile({ xattrs: xattrArea([], [xattrEntry(1, 'abc', '')]) }, { put: { [NID * 32 + 32 + 12]: Uint8Array.of(200) } }),
  ],
  [
    'more shared xattrs than the area holds',
    'xattr-bounds',
    withFile({ xattrs: xattrArea([1024], []) }, { put: { [NID * 32 + 32 + 4]: Uint8Array.of(2) } }),
  ],
  ['a shared xattr outside the image', 'xattr-bounds', withFile({ xattrs: xattrArea([2048], []) })],
  [
    'a shared xattr that leaves the image',
    'xattr-bounds',
    withFile({ xattrs: xattrArea([2047], []) }, { put: { 8188: Uint8Array.of(1, 1, 0, 0) } }),
  ],
  ['an unknown xattr prefix', 'xattr-prefix', withFile({ xattrs: xattrArea([], [xattrEntry(7, 'a', '')]) })],
  ['a prefix that the image does not have', 'xattr-prefix', withFile({ xattrs: xattrArea([], [xattrEntry(0x80, 'y', '')]) })],
  ['a damaged table of prefixes', 'xattr-prefixes', withFile({}, { put: { [SB + 91]: Uint8Array.of(1), [SB + 92]: u32(1024) } })],
  [
    'a table of prefixes outside the image',
    'bounds',
    withFile({}, { put: { [SB + 91]: Uint8Array.of(1), [SB + 92]: u32(0x40000000) } }),
  ],
  [
    'a name that may be a capability, its prefix hidden',
    'xattr-prefixes',
    {
      ...withFile({ xattrs: xattrArea([], [xattrEntry(0x80, 'bility', '')]) }, { put: hidden }),
      inodes: [...withFile({ xattrs: xattrArea([], [xattrEntry(0x80, 'bility', '')]) }).inodes, packed],
    },
  ],
  [
    'a packed inode that is a directory',
    'packed-nid',
    { inodes: [...withFile({}).inodes, directory(70, ROOT_NID, [])], put: hidden },
  ],
  ['inodes in the xattrs of others', 'overlap', { inodes: nested(), blocks: 3 }],
];

/** Files each of which lies in the value of an xattr of the one before: to read all would take the square of their number. */
function nested(): SmallInode[] {
  const nids = Array.from({ length: 40 }, (_, index) => 128 + 2 * index);
  const entries = nids.map((nid, index): SmallEntry => [String.fromCharCode(0x41 + index), nid, FILE]);
  const xattrs = xattrArea([], [xattrEntry(1, 'n', '\0'.repeat(3000))]);
  return [rootWith(entries), ...nids.map((nid): SmallInode => ({ nid, mode: FILE, xattrs }))];
}

for (const [what, rule, image] of refused) {
  test(`plain EROFS refused: ${what}`, () => {
    assert.throws(
      () => facts(makeSmallErofs(image)),
      (error) => error instanceof FormatError && error.rule === rule,
      rule,
    );
  });
}

test('plain EROFS: 20000 directories in each other take no stack', () => {
  const count = 20_000;
  const nids = Array.from({ length: count }, (_, index) => (index === 0 ? ROOT_NID : 128 + 4 * index));
  const inodes = nids.map((nid, index) =>
    directory(nid, nids[index - 1] ?? nid, index + 1 < count ? [['d', nids[index + 1] ?? 0, DIR]] : []),
  );
  assert.equal(facts(makeSmallErofs({ inodes, blocks: Math.ceil((128 + 4 * count) / 128) })).entries, count);
});

test('plain EROFS refused: more bytes than are read', () => {
  const source = { size: 16 * 2 ** 30 + 1, read: () => assert.fail('it was read') };
  assert.throws(
    () => readErofsFacts(source),
    (error) => error instanceof FormatError && error.rule === 'image-size',
  );
});
