import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { crc32c } from './crc32c.js';
import { FormatError } from './format-error.js';
import { parseSuperblock, SUPERBLOCK_WINDOW } from './superblock.js';

const SB = 1024;
type Edit = (view: DataView) => void;

/** The first 4096 bytes of a plain EROFS image of eight blocks, without a checksum. */
function erofsWindow(edit: Edit = () => undefined): Uint8Array {
  const bytes = new Uint8Array(SUPERBLOCK_WINDOW);
  const view = new DataView(bytes.buffer);
  view.setUint32(SB, 0xe0f5e1e2, true);
  view.setUint8(SB + 12, 12);
  view.setUint16(SB + 14, 36, true);
  view.setUint32(SB + 36, 8, true);
  edit(view);
  return bytes;
}
const EROFS_SIZE = 8 * 4096;

function refuses(rule: string): (error: unknown) => boolean {
  return (error) => error instanceof FormatError && error.rule === rule;
}

const checksummed = (blockBits: number, length: number): Uint8Array =>
  erofsWindow((view) => {
    view.setUint8(SB + 12, blockBits);
    view.setUint32(SB + 8, 1, true);
    for (let at = SB + 128; at < SUPERBLOCK_WINDOW; at += 1) view.setUint8(at, at & 0xff);
    view.setUint32(SB + 4, crc32c(0xffffffff, new Uint8Array(view.buffer, SB, length)), true);
  });

test('plain EROFS image taken: every block size, with the checksum over its block only', () => {
  for (const [blockBits, length] of [
    [9, 512],
    [10, 1024],
    [11, 1024],
    [12, 3072],
  ] as const) {
    const image = checksummed(blockBits, length);
    assert.deepEqual(parseSuperblock(image, EROFS_SIZE), { type: 'erofs', hasAcl: true, blockSize: 2 ** blockBits });
    const last = SB + length - 1;
    image[last] = (image[last] ?? 0) ^ 1;
    assert.throws(() => parseSuperblock(image, EROFS_SIZE), refuses('superblock-checksum'));
    image[last] ^= 1;
    if (last + 1 < SUPERBLOCK_WINDOW) image[last + 1] = 0xee;
    parseSuperblock(image, EROFS_SIZE);
  }
});

test('crc32c has the check value of its catalogue entry', () => {
  assert.equal((crc32c(0xffffffff, new TextEncoder().encode('123456789')) ^ 0xffffffff) >>> 0, 0xe3069283);
});

test('plain EROFS image taken: anything may stand before its superblock', () => {
  const image = erofsWindow();
  image.fill(0xcc, 0, SB);
  assert.equal(parseSuperblock(image, EROFS_SIZE).type, 'erofs');
});

const erofsRefusals: readonly (readonly [what: string, rule: string, size: number, edit: Edit])[] = [
  ['empty file', 'file-size', 0, () => undefined],
  ['ends a byte before the end of its superblock', 'file-size', SB + 127, () => undefined],
  ['wrong magic', 'superblock-magic', EROFS_SIZE, (view) => view.setUint32(SB, 0xe0f5e1e3, true)],
  ['blocks of 256 bytes', 'block-size', EROFS_SIZE, (view) => view.setUint8(SB + 12, 8)],
  ['blocks of 8192 bytes', 'block-size', EROFS_SIZE, (view) => view.setUint8(SB + 12, 13)],
  ['shift of 255', 'block-size', EROFS_SIZE, (view) => view.setUint8(SB + 12, 255)],
  ['no blocks', 'blocks', EROFS_SIZE, (view) => view.setUint32(SB + 36, 0, true)],
  ['one block more than the file holds', 'blocks', EROFS_SIZE, (view) => view.setUint32(SB + 36, 9, true)],
  ['cut by a byte', 'blocks', EROFS_SIZE - 1, () => undefined],
  ['2^32-1 blocks', 'blocks', EROFS_SIZE, (view) => view.setUint32(SB + 36, 0xffffffff, true)],
  ['root nid in the superblock', 'root-nid', EROFS_SIZE, (view) => view.setUint16(SB + 14, 35, true)],
  ['root nid at the end of the file', 'root-nid', EROFS_SIZE, (view) => view.setUint16(SB + 14, 1024, true)],
  ['metadata behind the end of the file', 'root-nid', EROFS_SIZE, (view) => view.setUint32(SB + 40, 8, true)],
  ['unknown incompatible feature 0x200', 'feature-incompat', EROFS_SIZE, (view) => view.setUint32(SB + 80, 0x200, true)],
  ['unknown incompatible feature 2^31', 'feature-incompat', EROFS_SIZE, (view) => view.setUint32(SB + 80, 0x80000000, true)],
  [
    'unknown compression',
    'compression',
    EROFS_SIZE,
    (view) => (view.setUint32(SB + 80, 2, true), view.setUint16(SB + 84, 0x10, true)),
  ],
  [
    'one extra device',
    'extra-devices',
    EROFS_SIZE,
    (view) => (view.setUint32(SB + 80, 8, true), view.setUint16(SB + 86, 1, true)),
  ],
  ['extra devices without the feature bit', 'extra-devices', EROFS_SIZE, (view) => view.setUint16(SB + 86, 1, true)],
  ['larger directory blocks', 'dirblkbits', EROFS_SIZE, (view) => view.setUint8(SB + 90, 1)],
  ['185 extension slots', 'extslots', EROFS_SIZE, (view) => view.setUint8(SB + 13, 185)],
  ['extension slots behind the end of the file', 'extslots', SB + 128, (view) => view.setUint8(SB + 13, 1)],
  [
    'packed inode outside',
    'packed-nid',
    EROFS_SIZE,
    (view) => (view.setUint32(SB + 80, 0x20, true), view.setUint32(SB + 96, 1024, true)),
  ],
  [
    '48-bit root outside',
    'root-nid',
    EROFS_SIZE,
    (view) => (view.setUint16(SB + 14, 0, true), view.setUint32(SB + 80, 0x80, true), view.setUint32(SB + 112, 1024, true)),
  ],
  [
    '48-bit block count with high bits',
    'blocks',
    EROFS_SIZE,
    (view) => (view.setUint16(SB + 14, 1, true), view.setUint32(SB + 80, 0x80, true), view.setUint32(SB + 112, 36, true)),
  ],
  ['metabox without room to name it', 'metabox-nid', EROFS_SIZE, (view) => view.setUint32(SB + 80, 0x100, true)],
  [
    'metabox that lies in itself',
    'metabox-nid',
    EROFS_SIZE,
    (view) => (
      view.setUint8(SB + 13, 1),
      view.setUint16(SB + 14, 40, true),
      view.setUint32(SB + 80, 0x100, true),
      view.setUint32(SB + 132, 0x80000000, true)
    ),
  ],
];

for (const [what, rule, size, edit] of erofsRefusals) {
  test(`plain EROFS image refused: ${what}`, () => {
    assert.throws(() => parseSuperblock(erofsWindow(edit), size), refuses(rule));
  });
}

const erofsAccepted: readonly (readonly [what: string, edit: Edit])[] = [
  [
    'every known incompatible feature but metabox',
    (view) => (view.setUint32(SB + 80, 0x7f, true), view.setUint16(SB + 84, 0xf, true), view.setUint32(SB + 96, 1023, true)),
  ],
  [
    '48-bit root nid',
    (view) => (view.setUint16(SB + 14, 0, true), view.setUint32(SB + 80, 0x80, true), view.setUint32(SB + 112, 36, true)),
  ],
  ['48-bit feature with a short root nid', (view) => view.setUint32(SB + 80, 0x80, true)],
  [
    'metabox',
    (view) => (
      view.setUint8(SB + 13, 1),
      view.setUint16(SB + 14, 40, true),
      view.setUint32(SB + 80, 0x100, true),
      view.setUint32(SB + 128, 41, true)
    ),
  ],
  ['184 extension slots', (view) => (view.setUint8(SB + 13, 184), view.setUint16(SB + 14, 128, true))],
  ['fewer blocks than the file holds', (view) => view.setUint32(SB + 36, 1, true)],
  ['root nid in the last slot', (view) => view.setUint16(SB + 14, 1023, true)],
];

for (const [what, edit] of erofsAccepted) {
  test(`plain EROFS image taken: ${what}`, () => {
    assert.equal(parseSuperblock(erofsWindow(edit), EROFS_SIZE).type, 'erofs');
  });
}

test('a window shorter than the file demands is our bug in reading, and refused', () => {
  assert.throws(() => parseSuperblock(erofsWindow().subarray(0, 4095), EROFS_SIZE), refuses('short-read'));
  assert.throws(() => parseSuperblock(erofsWindow(), Number.NaN), refuses('file-size'));
  assert.throws(() => parseSuperblock(erofsWindow(), -1), refuses('file-size'));
});

test('bytes behind the end of the file are not looked at', () => {
  const image = erofsWindow((view) => view.setUint32(SB + 36, 2, true));
  new DataView(image.buffer).setUint8(SB + 12, 9);
  assert.throws(() => parseSuperblock(image, 1100), refuses('file-size'));
});

test('any bytes give a header or a FormatError', () => {
  const magics = fc.constantFrom<Edit>(
    () => undefined,
    (view) => view.setUint32(0, 0xd078629a, true),
    (view) => view.setUint32(SB, 0xe0f5e1e2, true),
    (view) => (
      view.setUint32(SB, 0xe0f5e1e2, true),
      view.setUint8(SB + 12, 12),
      view.setUint32(SB + 8, 0, true),
      view.setUint32(SB + 80, 0x1ff, true),
      view.setUint32(SB + 84, 0, true)
    ),
  );
  const bytes = fc.oneof(fc.uint8Array({ maxLength: 5000 }), fc.uint8Array({ minLength: 4096, maxLength: 4096, size: 'max' }));
  fc.assert(
    fc.property(bytes, magics, fc.maxSafeNat(), (random, plant, size) => {
      if (random.length >= SB + 128) plant(new DataView(random.buffer, random.byteOffset, random.length));
      for (const fileSize of [random.length, size]) {
        try {
          assert.match(parseSuperblock(random, fileSize).type, /^(erofs|composefs)$/);
        } catch (error) {
          assert.ok(error instanceof FormatError, String(error));
        }
      }
    }),
    { numRuns: 500 },
  );
});
