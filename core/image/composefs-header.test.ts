import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FormatError } from './format-error.js';
import { parseSuperblock, SUPERBLOCK_WINDOW } from './superblock.js';

const SB = 1024;
type Edit = (view: DataView) => void;

/** The first 4096 bytes of the smallest composefs image there can be: an empty root directory. */
function composefsWindow(edit: Edit = () => undefined): Uint8Array {
  const bytes = new Uint8Array(SUPERBLOCK_WINDOW);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0xd078629a, true);
  view.setUint32(4, 1, true);
  view.setUint32(SB, 0xe0f5e1e2, true);
  view.setUint32(SB + 8, 6, true);
  view.setUint8(SB + 12, 12);
  view.setUint16(SB + 14, 36, true);
  view.setUint32(SB + 16, 257, true);
  view.setUint32(SB + 36, 4, true);
  view.setUint32(SB + 44, 2, true);
  edit(view);
  return bytes;
}
const COMPOSEFS_SIZE = 16384;

function refuses(rule: string): (error: unknown) => boolean {
  return (error) => error instanceof FormatError && error.rule === rule;
}

/** The bytes of header and superblock that an image is free to choose: flags, version, root_nid, inos, build_time and its nanoseconds, xattr_blkaddr. */
const FREE = [
  [8, 9],
  [12, 13],
  [SB + 14, SB + 36],
  [SB + 44, SB + 48],
] as const;

function assertFixedBytesHold(image: Uint8Array, fileSize: number): void {
  for (let at = 0; at < SB + 128; at += 1) {
    if (FREE.some(([from, to]) => at >= from && at < to)) continue;
    for (const mask of [0x01, 0x02, 0x80, 0xff]) {
      const damaged = image.slice();
      damaged[at] = (damaged[at] ?? 0) ^ mask;
      assert.throws(() => parseSuperblock(damaged, fileSize), FormatError, `byte ${at} ^ ${mask}`);
    }
  }
}

test('composefs image taken: versions 0 and 1, with and without ACLs', () => {
  for (const version of [0, 1] as const) {
    for (const flags of [0, 1]) {
      const image = composefsWindow((view) => (view.setUint32(8, flags, true), view.setUint32(12, version, true)));
      const header = { type: 'composefs', hasAcl: flags === 1, composefsVersion: version, blockSize: 4096 };
      assert.deepEqual(parseSuperblock(image, COMPOSEFS_SIZE), header);
    }
  }
});

const composefsRefusals: readonly (readonly [what: string, rule: string, size: number, edit: Edit])[] = [
  ['one block short of the smallest', 'file-size', 12288, (view) => view.setUint32(SB + 36, 3, true)],
  ['a byte more than whole blocks', 'file-size', 16385, () => undefined],
  ['a byte less than whole blocks', 'file-size', 20479, () => undefined],
  ['one block fewer than it counts', 'blocks', 16384, (view) => view.setUint32(SB + 36, 5, true)],
  ['one block more than it counts', 'blocks', 20480, () => undefined],
  ['version 2', 'composefs-version', COMPOSEFS_SIZE, (view) => view.setUint32(12, 2, true)],
  ['flag bit 1', 'composefs-flags', COMPOSEFS_SIZE, (view) => view.setUint32(8, 2, true)],
  ['flag bit 31', 'composefs-flags', COMPOSEFS_SIZE, (view) => view.setUint32(8, 0x80000000, true)],
  ['header version 2', 'composefs-header-version', COMPOSEFS_SIZE, (view) => view.setUint32(4, 2, true)],
  ['root nid 35, in the superblock', 'root-nid', COMPOSEFS_SIZE, (view) => view.setUint16(SB + 14, 35, true)],
  ['root nid behind the xattr table', 'root-nid', COMPOSEFS_SIZE, (view) => view.setUint16(SB + 14, 384, true)],
  ['xattr table at the end of the file', 'xattr-blkaddr', COMPOSEFS_SIZE, (view) => view.setUint32(SB + 44, 4, true)],
  ['no inodes', 'inode-count', COMPOSEFS_SIZE, (view) => view.setUint32(SB + 16, 0, true)],
  ['one inode more than fits', 'inode-count', COMPOSEFS_SIZE, (view) => view.setUint32(SB + 16, 477, true)],
  ['2^63 inodes', 'inode-count', COMPOSEFS_SIZE, (view) => view.setUint32(SB + 20, 0x80000000, true)],
  ['wrong magic in front of a whole header', 'composefs-magic', COMPOSEFS_SIZE, (view) => view.setUint32(0, 0, true)],
];

for (const [what, rule, size, edit] of composefsRefusals) {
  test(`composefs image refused: ${what}`, () => {
    assert.throws(() => parseSuperblock(composefsWindow(edit), size), refuses(rule));
  });
}

test('composefs image taken at its limits: last root nid, last xattr block, most inodes', () => {
  parseSuperblock(
    composefsWindow((view) => view.setUint16(SB + 14, 383, true)),
    COMPOSEFS_SIZE,
  );
  parseSuperblock(
    composefsWindow((view) => view.setUint32(SB + 44, 3, true)),
    COMPOSEFS_SIZE,
  );
  parseSuperblock(
    composefsWindow((view) => view.setUint32(SB + 16, 476, true)),
    COMPOSEFS_SIZE,
  );
});

test('composefs image refused: any fixed byte of header and superblock changed', () => {
  assertFixedBytesHold(composefsWindow(), COMPOSEFS_SIZE);
});

const root = fileURLToPath(new URL('../../../', import.meta.url));
const sample = join(process.env['CFS_SHARED'] ?? join(root, '../shared'), 'sample/sample.cfs');
const noSample = existsSync(sample) ? false : `NOT CHECKED against a real composefs image: ${sample} is missing; set CFS_SHARED`;

test('a real composefs image is taken; truncated, or with any fixed byte changed, it is refused', { skip: noSample }, () => {
  const image = new Uint8Array(readFileSync(sample));
  const window = image.slice(0, SUPERBLOCK_WINDOW);
  assert.equal(parseSuperblock(window, image.length).type, 'composefs');
  assertFixedBytesHold(window, image.length);
  for (const size of [
    0,
    1,
    31,
    1024,
    1151,
    1152,
    4096,
    16384,
    image.length - 4096,
    image.length - 1,
    image.length + 1,
    image.length + 4096,
  ]) {
    assert.throws(() => parseSuperblock(image.subarray(0, size), size), FormatError, `${size} bytes`);
  }
});
