import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { type VerityAlgorithm, type VerityDigest, digestHex } from './digest.js';
import { createVerityHasher } from './verity-hash.js';

function hashWhole(algorithm: VerityAlgorithm, data: Uint8Array): VerityDigest {
  const hasher = createVerityHasher(algorithm);
  hasher.update(data);
  return hasher.digest();
}

const known: readonly (readonly [what: string, data: Uint8Array, sha256: string, sha512Start: string])[] = [
  ['an empty file', new Uint8Array(0), '3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95', 'ccf9e5aea1c2a64e'],
  ['the letter a', Uint8Array.of(97), 'bce75948b9e7510293f8f2720412af9697c1479281323f3f220623fb8e94b557', '829b82e4646ed880'],
  ['4096 zeros', new Uint8Array(4096), 'babc284ee4ffe7f449377fbf6692715b43aec7bc39c094a95878904d34bac97e', '928922686c4caf32'],
  ['4097 zeros', new Uint8Array(4097), '093756e4ea9683329106d4a16982682ed182c14bf076463a9e7f97305cbac743', '4339f5da3788e60f'],
  [
    '524289 zeros',
    new Uint8Array(524289),
    'e4143a5705610b7ad2eb85482cfc033c7062a89b9faf9118603f592d53fd10e0',
    '7d26d3e731675b1e',
  ],
];

for (const [what, data, sha256, sha512Start] of known) {
  test(`fs-verity digest known: ${what}`, () => {
    assert.equal(hashWhole('sha256', data), `sha256:${sha256}`);
    assert.ok(hashWhole('sha512', data).startsWith(`sha512:${sha512Start}`));
  });
}

test('the digest does not depend on how the file is cut into chunks', () => {
  const data = new Uint8Array(70_000);
  for (let index = 0; index < data.length; index += 1) data[index] = (index * 31) ^ (index >> 8);
  const whole = hashWhole('sha256', data);
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.integer({ min: 0, max: 9000 }), fc.constantFrom(0, 1, 4095, 4096, 4097, 8192)), { maxLength: 40 }),
      (sizes) => {
        const hasher = createVerityHasher('sha256');
        let at = 0;
        for (const size of [...sizes, data.length]) {
          const chunk = data.slice(at, at + size);
          hasher.update(chunk);
          chunk.fill(0xee); // the hasher must have kept nothing of it
          at += chunk.length;
        }
        assert.equal(hasher.digest(), whole);
      },
    ),
  );
});

test('a hasher that gave its digest takes nothing more', () => {
  const hasher = createVerityHasher('sha256');
  hasher.digest();
  assert.throws(() => hasher.update(Uint8Array.of(1)));
  assert.throws(() => hasher.digest());
});

// Around the first block, and around the number of blocks at which the tree gets another level: 128 hashes of SHA-256, 64 of SHA-512 in a block.
const sizes = [
  0,
  1,
  4095,
  4096,
  4097,
  64 * 4096 - 1,
  64 * 4096,
  64 * 4096 + 1,
  128 * 4096 - 1,
  128 * 4096,
  128 * 4096 + 1,
  64 * 64 * 4096 + 1,
  128 * 128 * 4096,
  128 * 128 * 4096 + 1,
];

const noTool =
  spawnSync('fsverity', ['--version']).error === undefined
    ? false
    : 'NOT CHECKED against a second implementation: fsverity(1) is not installed (Debian package fsverity)';

test('fsverity(1) computes the same digests around every level of the tree', { skip: noTool }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'verity-'));
  try {
    const file = join(directory, 'data');
    for (const size of sizes) {
      const data = new Uint8Array(size).fill(0x5a);
      for (let at = 0; at < size; at += 4099) data[at] = at % 251;
      writeFileSync(file, data);
      for (const algorithm of ['sha256', 'sha512'] as const) {
        const { stdout } = spawnSync('fsverity', ['digest', '--compact', `--hash-alg=${algorithm}`, '--block-size=4096', file], {
          encoding: 'utf8',
        });
        assert.equal(digestHex(hashWhole(algorithm, data)), stdout.trim(), `${algorithm}, ${size} bytes`);
      }
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});
