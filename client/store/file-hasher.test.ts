import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { verityDigestFromBytes } from '../../core/image/digest.js';
import { createVerityHasher } from '../../core/image/verity-hash.js';
import { nodeBlockHasher } from '../../core/image/verity-tree.js';
import { loadBlockHasher } from '../../core/kernel/sha2.js';
import { RANGE, createFileHasher, hashFile } from './file-hasher.js';

const scratch = mkdtempSync(join(tmpdir(), 'cfsctl-hasher-'));
after(() => rmSync(scratch, { recursive: true }));
const ALGORITHMS = ['sha256', 'sha512'] as const;

function withFile<T>(bytes: Uint8Array, use: (source: { file: { raw: number }; size: number }) => T): T {
  const path = join(scratch, 'file');
  writeFileSync(path, bytes);
  const raw = openSync(path, 'r');
  try {
    return use({ file: { raw }, size: bytes.length });
  } finally {
    closeSync(raw);
  }
}

/** The plain way, which other tests compare with known answers and fsverity(1). */
function plainDigest(algorithm: 'sha256' | 'sha512', bytes: Uint8Array): string {
  const hasher = createVerityHasher(algorithm);
  hasher.update(bytes);
  return hasher.digest();
}

const random = randomBytes(2 * RANGE + 70_000);
const borders = [4096, 64 * 4096, 128 * 4096, 64 * 64 * 4096, RANGE, 2 * RANGE];
const sizes = [...new Set([0, 1, 64, 65, ...borders.flatMap((size) => [size - 1, size, size + 1]), random.length])];

for (const algorithm of ALGORITHMS) {
  test(`${algorithm}: one hasher gives the plain digest of files of all sizes around borders, one after the other`, () => {
    const hasher = createFileHasher(algorithm);
    for (const size of sizes) {
      const bytes = random.subarray(0, size);
      const found = withFile(bytes, (source) => hashFile(hasher, source));
      assert.equal(verityDigestFromBytes(algorithm, found!), plainDigest(algorithm, bytes), `${size} bytes`);
      assert.equal(verityDigestFromBytes(algorithm, hasher.hashBytes(bytes)), plainDigest(algorithm, bytes), `${size} in memory`);
    }
  });

  test(`${algorithm}: what is hashed of a long file is what goes to the copy`, () => {
    const hasher = createFileHasher(algorithm);
    const copied = Buffer.alloc(random.length);
    withFile(random, (source) => hashFile(hasher, source, (bytes, offset) => copied.set(bytes, offset)));
    assert.ok(copied.equals(random));
  });

  test(`${algorithm}: holes are hashed like the zeros they stand for, and not copied`, () => {
    const path = join(scratch, 'sparse');
    const bytes = Buffer.alloc(3 * RANGE + 5);
    bytes.set(random.subarray(0, 100), RANGE);
    writeFileSync(path, '');
    const raw = openSync(path, 'r+');
    writeSync(raw, random, 0, 100, RANGE);
    ftruncateSync(raw, bytes.length);
    const offsets: number[] = [];
    const source = { file: { raw }, size: bytes.length };
    const digest = hashFile(createFileHasher(algorithm), source, (_, offset) => offsets.push(offset));
    assert.equal(verityDigestFromBytes(algorithm, digest!), plainDigest(algorithm, bytes));
    assert.ok(offsets.length > 0 && offsets.every((offset) => offset >= RANGE && offset < 2 * RANGE), offsets.join());
    closeSync(raw);
  });

  test(`${algorithm}: a file that is shorter than said has no digest, and the next one has its own`, () => {
    const hasher = createFileHasher(algorithm);
    for (const size of [10, 600_000, RANGE + 10]) {
      const bytes = random.subarray(0, size);
      assert.equal(
        withFile(bytes, ({ file }) => hashFile(hasher, { file, size: size + 1 })),
        undefined,
      );
      const found = withFile(bytes, (source) => hashFile(hasher, source));
      assert.equal(verityDigestFromBytes(algorithm, found!), plainDigest(algorithm, bytes));
    }
  });

  test(`${algorithm}: the program's own functions hash blocks as Node does`, () => {
    const native = loadBlockHasher(algorithm);
    assert.ok(native, 'this Node exports SHA-2 functions');
    const [mine, nodes] = [new Uint8Array(64 * 9), new Uint8Array(64 * 9)];
    native(random, 3, 8, mine, 5);
    nodeBlockHasher(algorithm)(random, 3, 8, nodes, 5);
    native(random, 1, 1, mine, 0, 256);
    nodeBlockHasher(algorithm)(random, 1, 1, nodes, 0, 256);
    assert.deepEqual(mine, nodes);
  });
}

const outside: readonly (readonly [what: string, from: number, count: number, at: number])[] = [
  ['blocks that end behind the buffer', 1, 2, 0],
  ['blocks that start before it', -1, 1, 0],
  ['hashes that end behind theirs', 0, 1, 33],
  ['hashes that start before it', 0, 1, -1],
  ['a place that is no integer', 0.5, 1, 0],
  ['a number of blocks that is none', 0, Number.NaN, 0],
];
for (const [what, from, count, at] of outside) {
  test(`refused, because native code would read or write there: ${what}`, () => {
    const hashBlocks = loadBlockHasher('sha256')!;
    assert.throws(() => hashBlocks(new Uint8Array(8192), from, count, new Uint8Array(64), at), RangeError);
  });
}
