import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { factsOfTree, makeSourceTree } from '../../test/support/source-tree.js';
import type { ContentFacts } from './content-facts.js';
import { readErofsFacts } from './erofs-facts.js';
import { FormatError } from './format-error.js';
import { sourceOf } from './image-bytes.js';

const noTool =
  spawnSync('mkfs.erofs', ['--help']).error === undefined
    ? false
    : 'NOT CHECKED against real images: mkfs.erofs is not installed (Debian package erofs-utils)';
if (process.getuid?.() !== 0) console.error('NOTE: not root, so no image here has device nodes, owners or file capabilities');

let directory = '';
let walked: ContentFacts;

before(() => {
  directory = mkdtempSync(join(tmpdir(), 'erofs-facts-'));
  makeSourceTree(join(directory, 'tree'));
  walked = factsOfTree(join(directory, 'tree'));
});
after(() => rmSync(directory, { recursive: true }));

/** Undefined when this mkfs.erofs does not know the options. */
function makeImage(options: readonly string[]): Uint8Array | undefined {
  const file = join(directory, 'image');
  rmSync(file, { force: true });
  const { status } = spawnSync('mkfs.erofs', ['--quiet', ...options, file, join(directory, 'tree')]);
  return status === 0 ? new Uint8Array(readFileSync(file)) : undefined;
}

type Change = (facts: ContentFacts) => ContentFacts;
const asIs: Change = (facts) => facts;
const withoutXattrs: Change = (facts) => ({ ...facts, fileCapabilities: 0 });

/** bin/suid has three names, and bin/block two. */
const withoutLinks: Change = (facts) => ({
  ...facts,
  setUid: facts.setUid + 2,
  devices: facts.devices + (facts.devices > 0 ? 1 : 0),
});

/** Every mkfs.erofs since 1.5 knows these. */
const common: readonly (readonly [options: string, change?: Change])[] = [
  [''],
  ['-zlz4'],
  ['-zlz4hc'],
  ['-zlz4hc,12 -C65536'],
  ['-zlz4 -Eztailpacking'],
  ['-zlz4 -Elegacy-compress'],
  ['--chunksize=4096'],
  ['--chunksize=65536'],
  ['-x-1', withoutXattrs],
  ['-x0'],
  ['-x1'],
  ['-x100'],
  ['-T1000000000'],
  ['--ignore-mtime'],
  ['-Enosbcrc'],
  ['-Eforce-inode-extended'],
  ['-Enoinline_data'],
  ['-Eforce-inode-blockmap --chunksize=4096'],
  ['-Eforce-chunk-indexes --chunksize=4096'],
  ['--all-root', (facts) => ({ ...facts, largestUid: 0, largestGid: 0 })],
  ['--force-uid=3000 --force-gid=4000', (facts) => ({ ...facts, largestUid: 3000, largestGid: 4000 })],
];
/** Some do. */
const newer: readonly (readonly [options: string, change?: Change])[] = [
  ['-zlz4 -Ededupe'],
  ['-zlz4 -Efragments'],
  ['-zlz4 -Eall-fragments'],
  ['-zlz4 -Efragments,dedupe,ztailpacking -C16384'],
  ['-zzstd'],
  ['-zdeflate'],
  ['-zlzma'],
  ['-b512'],
  ['-b1024 -zlz4'],
  ['-b2048 --chunksize=2048'],
  ['--xattr-prefix=user.sh --xattr-prefix=trusted.'],
  ['-Exattr-name-filter'],
  ['--hard-dereference', withoutLinks],
  ['-Efragdedupe=inode -zlz4 -Efragments'],
];

for (const [options, change = asIs] of common) {
  test(`facts of an image of mkfs.erofs ${options} are those of its tree`, { skip: noTool }, () => {
    const image = makeImage(options.split(' ').filter((word) => word !== ''));
    assert.ok(image !== undefined, 'mkfs.erofs failed');
    assert.deepEqual(readErofsFacts(sourceOf(image)), change(walked));
  });
}
for (const [options, change = asIs] of newer) {
  test(`facts of an image of mkfs.erofs ${options}, where the tool can make it`, { skip: noTool }, (t) => {
    const image = makeImage(options.split(' ').filter((word) => word !== ''));
    if (image === undefined) return t.skip('this mkfs.erofs does not know the option');
    assert.deepEqual(readErofsFacts(sourceOf(image)), change(walked));
  });
}

/** What newer tools make and nobody can judge: refused, with a way out. */
const refused = [
  ['-E48bit', 'feature-48bit', 0x80],
  ['-m4096 -zlz4', 'feature-metabox', 0x100],
  ['--xattr-prefix=security.cap', 'xattr-prefixes', 0x40],
] as const;
for (const [options, rule, feature] of refused) {
  test(`an image of mkfs.erofs ${options} is refused, where the tool can make it`, { skip: noTool }, (t) => {
    const image = makeImage(options.split(' '));
    // Old ones pass over what they do not know behind -E.
    const incompat = image === undefined ? 0 : new DataView(image.buffer).getUint32(1024 + 80, true);
    if (image === undefined || (incompat & feature) === 0) return t.skip('this mkfs.erofs does not know the option');
    assert.throws(
      () => readErofsFacts(sourceOf(image)),
      (error) => error instanceof FormatError && error.rule === rule && error.message.includes('; make it without'),
    );
  });
}

test('facts are the same through a source that gives each piece once', { skip: noTool }, () => {
  const image = makeImage([]);
  assert.ok(image !== undefined);
  const read = new Map<number, number>();
  const source = sourceOf(image);
  const facts = readErofsFacts({
    size: image.length,
    read(target, offset) {
      read.set(offset, (read.get(offset) ?? 0) + target.length);
      source.read(target, offset);
    },
  });
  assert.deepEqual(facts, walked);
  const total = [...read.values()].reduce((sum, length) => sum + length, 0);
  assert.ok(total <= image.length, `${total} bytes were read of ${image.length}`);
});

test('an image is refused or read when any bytes of it are replaced', { skip: noTool }, () => {
  const image = makeImage(['-zlz4']);
  assert.ok(image !== undefined);
  // The checksum is that of the superblock's block: without it, everything else is reached.
  image[1024 + 8] = (image[1024 + 8] ?? 0) & ~1;
  let refusals = 0;
  for (let at = 1024; at < 1024 + 128; at += 1) {
    for (const value of [0, 1, 0x7f, 0x80, 0xff]) {
      const damaged = image.slice();
      damaged[at] = value;
      try {
        readErofsFacts(sourceOf(damaged));
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        refusals += 1;
      }
    }
  }
  assert.ok(refusals > 100, `only ${refusals}`);
});
