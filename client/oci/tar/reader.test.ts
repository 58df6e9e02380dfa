import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { FormatError } from '../../../core/image/format-error.js';
import { gnuLong, tarEntry, tarFile } from '../../../test/support/tar-file.js';
import type { TarEntry } from './entry.js';
import { createTarReader } from './reader.js';

interface Read {
  readonly entries: readonly { readonly entry: TarEntry; readonly data: string }[];
}

/** What is read of an archive that comes in pieces of these sizes, and then in one piece. */
function readTar(archive: Buffer, pieces: readonly number[] = []): Read {
  const entries: { entry: TarEntry; data: string }[] = [];
  let hash = createHash('sha256');
  let ended = true;
  const reader = createTarReader({
    entry(entry) {
      assert.ok(ended, 'the entry before has ended');
      ended = entry.size === 0;
      hash = createHash('sha256');
      entries.push({ entry, data: '' });
    },
    data(bytes) {
      assert.ok(!ended && bytes.length > 0);
      hash.update(bytes);
    },
    endOfData() {
      ended = true;
      entries.at(-1)!.data = hash.digest('hex');
    },
  });
  let at = 0;
  for (const size of [...pieces, archive.length]) {
    // A copy: what was given is not looked at again.
    const piece = Buffer.from(archive.subarray(at, at + size));
    reader.push(piece);
    piece.fill(0xff);
    at += size;
  }
  reader.end();
  return { entries };
}

const archive = tarFile(
  { name: 'directory/', type: '5' },
  { name: 'empty' },
  { name: 'one', data: 'x' },
  { name: 'block', data: Buffer.alloc(512, 'b') },
  {
    name: 'more',
    data: Buffer.alloc(5000, 'm'),
    pax: { path: `directory/${'long'.repeat(40)}`, 'SCHILY.xattr.user.x': Buffer.from([0, 255, 10, 61]) },
  },
  gnuLong('L', 'gnu/'.repeat(60)),
  gnuLong('K', 'target/'.repeat(60)),
  { name: 'short', type: '2', link: 'short', magic: 'ustar  \0' },
  tarEntry({ name: 'pax_global_header', type: 'g', data: '16 comment=git!\n' }),
  { name: 'old', magic: '\0'.repeat(8), data: 'v7' },
);

test('in whatever pieces an archive comes, the same is read of it', () => {
  const whole = readTar(archive);
  assert.equal(whole.entries.length, 7);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 1500 }), { maxLength: 60 }), (pieces) => {
      assert.deepEqual(readTar(archive, pieces), whole);
    }),
    { numRuns: 300 },
  );
  assert.deepEqual(readTar(archive, Array<number>(archive.length - 1).fill(1)), whole);
});

test('what headers and their extensions say is read: long names of both kinds, attributes byte by byte', () => {
  const [, , , , more, link, old] = readTar(archive).entries;
  assert.equal(more?.entry.path, `directory/${'long'.repeat(40)}`);
  assert.deepEqual([...more.entry.xattrs], [['user.x', '\x00\xff\x0a=']]);
  assert.deepEqual([link?.entry.path, link?.entry.link], ['gnu/'.repeat(60), 'target/'.repeat(60)]);
  assert.deepEqual([old?.entry.path, old?.entry.size], ['old', 2]);
});

test('numbers: octal up to the last digit, binary beyond; times before 1970', () => {
  const binary = (value: bigint): Buffer => {
    const bytes = Buffer.alloc(12);
    bytes.writeBigInt64BE(value, 4);
    bytes.fill(value < 0n ? 0xff : 0, 0, 4);
    bytes[0] = value < 0n ? 0xff : 0x80;
    return bytes;
  };
  const timeOf = (mtime: bigint): number =>
    readTar(tarFile({ name: 'f', change: (header) => void binary(mtime).copy(header, 136) })).entries[0]!.entry.mtime;
  assert.deepEqual([timeOf(-1n), timeOf(2n ** 40n), timeOf(-(2n ** 53n) + 1n)], [-1, 2 ** 40, 1 - 2 ** 53]);
  assert.throws(() => timeOf(2n ** 53n), /mtime in a header is negative or too large/);
  const sizeOf = (size: Buffer): unknown => readTar(Buffer.concat([tarEntry({ name: 'f', size })])).entries;
  assert.throws(() => sizeOf(Buffer.from('77777777777\0')), /the archive ends within an entry/);
  assert.throws(() => sizeOf(Buffer.from('777777777777')), /the archive ends within an entry/, 'without a NUL');
});

test('a fraction of a second counts to nine digits, and downwards before 1970', () => {
  const timeOf = (mtime: string): string => {
    const { entry } = readTar(tarFile({ name: 'f', pax: { mtime } })).entries[0]!;
    return `${entry.mtime} ${entry.mtimeNsec}`;
  };
  assert.equal(timeOf('1.5'), '1 500000000');
  assert.equal(timeOf('1.0000000019'), '1 1');
  assert.equal(timeOf('-1.25'), '-2 750000000');
  assert.equal(timeOf('-3'), '-3 0');
});

test('a damaged archive is refused with a FormatError, or taken; it never hangs', () => {
  let refused = 0;
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(archive.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 }),
      fc.nat(archive.length),
      (changes, length) => {
        const damaged = Buffer.from(archive);
        for (const [at, byte] of changes) damaged[at] = byte;
        // A right checksum, so that more than the checksum is tried.
        for (let at = 0; at + 512 <= damaged.length; at += 512) {
          const header = damaged.subarray(at, at + 512);
          if (header.toString('latin1', 257, 262) !== 'ustar') continue;
          header.fill(' ', 148, 156);
          header.write(
            `${header
              .reduce((sum, byte) => sum + byte, 0)
              .toString(8)
              .padStart(6, '0')}\0 `,
            148,
            'latin1',
          );
        }
        try {
          readTar(length % 3 === 0 ? damaged.subarray(0, length) : damaged, [length]);
        } catch (error) {
          if (!(error instanceof FormatError)) throw error;
          refused += 1;
        }
      },
    ),
    { numRuns: 3000 },
  );
  assert.ok(refused > 500, `${refused} were refused`);
});
