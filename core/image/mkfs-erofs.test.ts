import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { FormatError } from './format-error.js';
import { parseSuperblock, SUPERBLOCK_WINDOW } from './superblock.js';

const noTool =
  spawnSync('mkfs.erofs', ['--help']).error === undefined
    ? false
    : 'NOT CHECKED against real images: mkfs.erofs is not installed (Debian package erofs-utils)';

let directory = '';

before(() => {
  directory = mkdtempSync(join(tmpdir(), 'erofs-'));
  const tree = join(directory, 'tree');
  mkdirSync(join(tree, 'sub'), { recursive: true });
  writeFileSync(join(tree, 'text'), 'some text that compresses well\n'.repeat(9000));
  writeFileSync(join(tree, 'sub/again'), 'some text that compresses well\n'.repeat(9000));
  writeFileSync(join(tree, 'empty'), '');
  symlinkSync('text', join(tree, 'link'));
});

after(() => rmSync(directory, { recursive: true }));

/** Undefined when this mkfs.erofs does not know the options. */
function makeImage(options: readonly string[]): Uint8Array | undefined {
  const file = join(directory, 'image');
  rmSync(file, { force: true });
  const { status } = spawnSync('mkfs.erofs', ['--quiet', ...options, file, join(directory, 'tree')]);
  return status === 0 ? new Uint8Array(readFileSync(file)) : undefined;
}

function parse(image: Uint8Array, size = image.length): ReturnType<typeof parseSuperblock> {
  return parseSuperblock(image.subarray(0, Math.min(size, SUPERBLOCK_WINDOW)), size);
}

/** Every mkfs.erofs since 1.5 knows these. */
const common = [
  [],
  ['-zlz4'],
  ['-zlz4hc'],
  ['-zlz4', '-Eztailpacking'],
  ['-zlz4', '-C65536'],
  ['-zlz4', '-Elegacy-compress'],
  ['--chunksize=4096'],
  ['-x-1'],
  ['-x1'],
  ['-Enosbcrc'],
  ['-Eforce-inode-extended'],
];
/** Some do. */
const newer = [
  ['-zlz4', '-Efragments'],
  ['-zlz4', '-Ededupe'],
  ['-b512'],
  ['-b1024'],
  ['-b2048'],
  ['-zzstd'],
  ['-E48bit'],
  ['-zlz4', '-Eall-fragments'],
];

for (const options of common) {
  test(`image of mkfs.erofs ${options.join(' ')} is taken, and refused when cut`, { skip: noTool }, () => {
    const image = makeImage(options);
    assert.ok(image !== undefined, 'mkfs.erofs failed');
    assert.deepEqual(parse(image), { type: 'erofs', hasAcl: true, blockSize: 4096 });
    for (const size of [image.length - 1, image.length - 4096, 1151, 1024, 0])
      assert.throws(() => parse(image, size), FormatError);
  });
}

for (const options of newer) {
  test(`image of mkfs.erofs ${options.join(' ')} is taken, where the tool can make it`, { skip: noTool }, (t) => {
    const image = makeImage(options);
    if (image === undefined) return t.skip('this mkfs.erofs does not know the option');
    assert.equal(parse(image).type, 'erofs');
  });
}

test('image refused: any bit of its checksummed superblock block flipped', { skip: noTool }, () => {
  const image = makeImage([]);
  assert.ok(image !== undefined);
  const window = image.slice(0, SUPERBLOCK_WINDOW);
  for (let bit = 1024 * 8; bit < window.length * 8; bit += 1) {
    // The feature bit that says there is a checksum is the one bit the checksum cannot hold.
    if (bit === (1024 + 8) * 8) continue;
    const at = bit >> 3;
    window[at] = (window[at] ?? 0) ^ (1 << (bit & 7));
    assert.throws(() => parseSuperblock(window, image.length), FormatError, `bit ${bit}`);
    window[at] ^= 1 << (bit & 7);
  }
});

test('image refused: its data lie on another device', { skip: noTool }, () => {
  const image = makeImage(['--chunksize=4096', `--blobdev=${join(directory, 'blob')}`]);
  assert.ok(image !== undefined, 'mkfs.erofs failed');
  assert.throws(
    () => parse(image),
    (error) => error instanceof FormatError && error.rule === 'extra-devices',
  );
});
