// Images of our writer, as the kernel shows them: plain EROFS mounts in a namespace that ends with the process.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { readImage } from '../../core/image/reader.js';
import { BLK, CHR, DIR, type Entry, LNK, type Node, REG, isLink, isWhiteout, typeOf } from '../../core/image/tree.js';
import { STUB_NAMES } from '../../core/image/prepare.js';
import { writeImage } from '../../core/image/writer.js';
import { fuzzSubjects } from '../fuzz/subjects.js';
import type { Listed } from '../support/list-mounted.js';
import { ROOT, requirePrivileges } from '../support/machine.js';
import { anyTree } from '../support/random-tree.js';

let directory = '';
before(() => {
  requirePrivileges();
  directory = mkdtempSync(join(tmpdir(), 'kernel-image-'));
  mkdirSync(join(directory, 'mnt'));
});
after(() => directory !== '' && rmSync(directory, { recursive: true }));

// noacl: random ACLs are not well formed, and the kernel then refuses to open the file.
const SCRIPT = 'mount -t erofs -o ro,loop,noacl "$0/image" "$0/mnt" && exec "$1" "$2" "$0/mnt"';

function listByKernel(image: Uint8Array): ReadonlyMap<string, Listed> {
  writeFileSync(join(directory, 'image'), image);
  const lister = join(ROOT, 'build/test/support/list-mounted.js');
  const command = ['--mount', '--propagation=private', 'sh', '-c', SCRIPT, directory, process.execPath, lister];
  const { status, stdout, stderr } = spawnSync('unshare', command, { encoding: 'utf8', maxBuffer: 2 ** 28 });
  assert.equal(status, 0, stderr);
  const lines = stdout.split('\n').filter((line) => line !== '');
  return new Map(lines.map((line) => JSON.parse(line) as Listed).map((entry) => [entry.path, entry]));
}

/** Compares every name of the tree, and that there are no others but the whiteouts that hide the object store. */
function assertShown(root: Node, shown: ReadonlyMap<string, Listed>): void {
  const stubs = STUB_NAMES.filter((name) => root.children?.has(name) === false);
  for (const name of stubs) assert.deepEqual([shown.get(`/${name}`)?.mode, shown.get(`/${name}`)?.rdev], [0o20644, 0]);
  let names = stubs.length;
  const queue: [path: string, directory: Node][] = [['', root]];
  for (const [path, { children }] of queue) {
    for (const [name, entry] of children ?? []) {
      names += 1;
      assertSame(`${path}/${name}`, entry, shown.get(`${path}/${name}`));
      if (!isLink(entry) && entry.children !== undefined) queue.push([`${path}/${name}`, entry]);
    }
  }
  assert.equal(shown.size, names);
}

/** The id -1 is none: the kernel keeps even root out of what belongs to nobody. */
function giveOwners(root: Node): Node {
  const queue = [root];
  for (const node of queue) {
    node.uid = Math.min(node.uid, 0xfffffffe);
    node.gid = Math.min(node.gid, 0xfffffffe);
    for (const entry of node.children?.values() ?? []) if (!isLink(entry)) queue.push(entry);
  }
  return root;
}

function assertSame(path: string, entry: Entry, shown: Listed | undefined): void {
  const node = isLink(entry) ? entry.link : entry;
  const type = typeOf(node);
  assert.ok(shown !== undefined, path);
  assert.equal(shown.mode, isWhiteout(node) ? (REG << 12) | (node.mode & 0xfff) : node.mode, path);
  assert.deepEqual([shown.uid, shown.gid], [node.uid, node.gid], path);
  if (type === DIR) return;
  assert.equal(shown.nlink, node.nlink, path);
  if (type === REG || type === LNK) assert.equal(shown.size, String(node.size), path);
  if (type === CHR || type === BLK) assert.equal(shown.rdev, node.rdev, path);
  if (node.content !== undefined || node.target !== undefined) assert.equal(shown.data, node.content ?? node.target, path);
  if (node.mtime >= 0n && node.mtime < 2n ** 33n && node.mtimeNsec < 1e9)
    assert.equal(shown.mtimeNs, String(node.mtime * 1_000_000_000n + BigInt(node.mtimeNsec)), path);
}

for (const { name, bytes, kind } of fuzzSubjects()) {
  if (kind === 'image')
    test(`the kernel mounts and shows ${name}`, () =>
      assertShown(readImage(bytes, { hugeFiles: true }).root, listByKernel(bytes)));
}

test('the kernel mounts and shows the images of random trees', () => {
  fc.assert(
    fc.property(anyTree.map(giveOwners), (root) => assertShown(root, listByKernel(writeImage(root, 1)))),
    { includeErrorInReport: true, numRuns: Number(process.env['CFS_RUNS'] ?? 10) },
  );
});
