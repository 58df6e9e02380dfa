import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { fuzzSubjects } from '../../test/fuzz/subjects.js';
import { anyTree } from '../../test/support/random-tree.js';
import { goodVectors } from '../../test/support/vectors.js';
import { parseDump } from './dump-parser.js';
import { readImage } from './reader.js';
import { writeImage } from './writer.js';

const noTool =
  spawnSync('fsck.erofs', ['--help']).error === undefined
    ? false
    : 'NOT CHECKED against a second implementation: fsck.erofs is not installed (Debian package erofs-utils)';

/** CFS_RUNS=1000 looks longer. */
const TREES = Number(process.env['CFS_RUNS'] ?? 25);

let file = '';
before(() => {
  file = join(mkdtempSync(join(tmpdir(), 'fsck-')), 'image');
});
after(() => rmSync(join(file, '..'), { recursive: true }));

/** fsck.erofs finds nothing, dump.erofs counts the same inodes. */
function assertAccepted(image: Uint8Array): void {
  writeFileSync(file, image);
  const check = spawnSync('fsck.erofs', [file], { encoding: 'utf8' });
  assert.equal(check.status, 0, check.stderr);
  const dump = spawnSync('dump.erofs', ['-s', file], { encoding: 'utf8' });
  assert.match(dump.stdout, new RegExp(`inode count: +${readImage(image, { hugeFiles: true }).inodes}\n`));
}

for (const { name, dump, version } of goodVectors()) {
  test(`erofs-utils take the image of ${name}`, { skip: noTool }, () => assertAccepted(writeImage(parseDump(dump), version)));
}

for (const { name, bytes, kind } of fuzzSubjects()) {
  if (kind === 'image')
    test(`erofs-utils take what the fuzzer starts from: ${name}`, { skip: noTool }, () => assertAccepted(bytes));
}

test('erofs-utils take the images of random trees', { skip: noTool }, () => {
  fc.assert(
    fc.property(anyTree, fc.constantFrom(0 as const, 1 as const), (root, version) => assertAccepted(writeImage(root, version))),
    { numRuns: TREES },
  );
});
