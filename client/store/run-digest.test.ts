import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { RANGE } from './file-hasher.js';
import { digestFiles } from './run-digest.js';

const scratch = mkdtempSync(join(tmpdir(), 'cfsctl-digest-'));
after(() => rmSync(scratch, { recursive: true }));
const workerScript = new URL('file-worker.js', import.meta.url);

const noTool =
  spawnSync('fsverity', ['--version']).error === undefined
    ? false
    : 'NOT CHECKED against a second implementation: fsverity(1) is not installed (Debian package fsverity)';

// Where a block, a level of the tree (of either algorithm) or a range ends; the longest is worth another thread from the start.
const borders = [4096, 64 * 4096, 128 * 4096, RANGE, 2 * RANGE];
const sizes = [0, 1, ...borders.flatMap((size) => [size - 1, size, size + 1]), 5 * RANGE + 4097, 3 * RANGE];

const files = sizes.map((size) => {
  const path = join(scratch, `${size}`);
  writeFileSync(path, randomBytes(size));
  return path;
});

for (const algorithm of ['sha256', 'sha512'] as const) {
  for (const threads of [1, 2, 3]) {
    test(`${algorithm} with ${threads} threads: digests are those of fsverity(1)`, { skip: noTool }, async () => {
      const lines: string[] = [];
      await digestFiles(files, algorithm, { threads, workerScript }, ({ path, digest, size }) => {
        assert.equal(path, join(scratch, `${size}`));
        lines.push(`${digest} ${path}\n`);
      });
      const { stdout } = spawnSync('fsverity', ['digest', `--hash-alg=${algorithm}`, '--block-size=4096', ...files], {
        encoding: 'utf8',
      });
      assert.equal(lines.join(''), stdout);
    });
  }
}

test('files before one that cannot be read are told of', async () => {
  const told: string[] = [];
  const run = digestFiles([files[2]!, join(scratch, 'nope'), files[3]!], 'sha256', { threads: 1 }, ({ path }) => told.push(path));
  await assert.rejects(run, { name: 'RequestError', message: /nope cannot be opened \(ENOENT\)/ });
  assert.deepEqual(told, [files[2]]);
});
