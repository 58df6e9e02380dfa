import assert from 'node:assert/strict';
import { test } from 'node:test';

import { parseVerityDigest } from '../core/image/digest.js';
import { createMemfd, readAt, truncate, writeAllAt } from '../core/kernel/file.js';
import { statFd } from '../core/kernel/stat.js';
import type { LiveMount } from './live-mount.js';
import { openMountTable } from './mount-table.js';

const digest = parseVerityDigest(`sha256:${'ab'.repeat(32)}`);
const mountOf = (id: bigint, other: Partial<LiveMount> = {}): LiveMount => ({
  id,
  uid: 1000,
  payer: 1000,
  digest,
  rule: 'team images',
  since: 1_700_000_000_000,
  userns: 4_026_532_000n,
  type: 'composefs',
  ...other,
});

test('what was put and not removed is there when the table is opened again', () => {
  using file = createMemfd('table');
  const table = openMountTable(file);
  for (const watch of [1, 2, 3]) table.put(watch, mountOf(table.nextId()));
  table.remove(2);
  const again = openMountTable(file);
  assert.deepEqual([...again.mounts()], [...table.mounts()]);
  assert.deepEqual([...again.mounts().keys()], [1, 3]);
  assert.equal(again.nextId(), 4n, 'no number is given twice');
});

test('places are used again: the file does not grow with what has come and gone', () => {
  using file = createMemfd('table');
  const table = openMountTable(file);
  table.put(1, mountOf(1n));
  const { size } = statFd(file);
  for (let watch = 2; watch < 100; watch++) {
    table.remove(watch - 1);
    table.put(watch, mountOf(BigInt(watch)));
  }
  assert.equal(statFd(file).size, size);
  const again = openMountTable(file);
  again.put(100, mountOf(100n));
  again.remove(99);
  again.put(101, mountOf(101n));
  assert.deepEqual(
    [...openMountTable(file).mounts().keys()].sort((a, b) => a - b),
    [100, 101],
  );
});

test('the longest that a policy and a digest allow fits, and a character more than fits is an error', () => {
  using file = createMemfd('table');
  const table = openMountTable(file);
  const long = mountOf(2n ** 64n - 1n, {
    uid: 4294967294,
    payer: 4294967295,
    digest: parseVerityDigest(`sha512:${'ab'.repeat(64)}`),
    signer: 'ab'.repeat(32),
    rule: '\u{10FFFF}'.repeat(64), // 128 UTF-16 units, four bytes for each two
    since: 8_640_000_000_000_000,
    userns: 2n ** 64n - 1n,
  });
  table.put(2 ** 31 - 1, long);
  assert.deepEqual(
    openMountTable(file)
      .mounts()
      .get(2 ** 31 - 1),
    long,
  );
  table.put(5, { ...long, rule: '\u4e00'.repeat(128) });
  assert.throws(() => table.put(6, { ...long, rule: 'x'.repeat(1000) }), RangeError);
  assert.equal(openMountTable(file).mounts().size, 2);
});

const refused: [what: string, spoil: (table: Buffer) => Buffer][] = [
  ['a byte short', (table) => table.subarray(1)],
  ['another version', (table) => Buffer.from(table.toString('latin1').replace('"version":1', '"version":2'), 'latin1')],
  ['noise in the head', (table) => table.fill(0xff, 0, 64)],
  ['noise in a slot', (table) => table.fill(0x41, 1024, 1100)],
  ['a length beyond the slot', (table) => (table.writeUInt16LE(0xffff, 1024), table)],
  ['a digest that is none', (table) => Buffer.from(table.toString('latin1').replace('sha256:ab', 'sha256:xx'), 'latin1')],
  ['a key too many', (table) => Buffer.from(table.toString('latin1').replace('"uid"', '"gid"'), 'latin1')],
];
for (const [what, spoil] of refused) {
  test(`refused: ${what}`, () => {
    using file = createMemfd('table');
    openMountTable(file).put(1, mountOf(1n));
    const bytes = Buffer.alloc(statFd(file).size);
    readAt(file, bytes, 0);
    const spoilt = spoil(Buffer.from(bytes));
    truncate(file, 0);
    writeAllAt(file, spoilt, 0);
    assert.throws(() => openMountTable(file));
  });
}
