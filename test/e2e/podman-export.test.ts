// The store that podman reads: what is in it, how it follows the repository, and that readers and interrupted writers find it whole.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';

import { CFSCTL } from '../support/cfsctl.js';
import { run } from '../support/machine.js';
import { importTree } from '../support/oci-record.js';
import { makeRootTree } from '../support/podman-kit.js';
import { type Outcome, runAs } from '../support/run-as.js';
import { makeScratch } from '../support/scratch.js';

const scratch = makeScratch();
const at = (...names: string[]): string => join(scratch.path, ...names);
const repository = at('repo');
const store = at('store');
const exportStore = (...words: string[]): Outcome =>
  runAs(0, [CFSCTL, 'podman', 'export-store', '--repo', repository, ...(words.length > 0 ? words : [store])]);

interface Listed {
  readonly id: string;
  readonly names: readonly string[];
  readonly layer: string;
}

const images = (): Listed[] => JSON.parse(readFileSync(join(store, 'overlay-images/images.json'), 'utf8')) as Listed[];
const layers = (): { id: string; 'diff-size': number }[] =>
  JSON.parse(readFileSync(join(store, 'overlay-layers/layers.json'), 'utf8')) as { id: string; 'diff-size': number }[];

/** What a reader needs is there for everything that is listed. */
function assertWhole(): void {
  const known = new Set(layers().map(({ id }) => id));
  for (const { id, layer } of images()) {
    assert.ok(known.has(layer), `layer of ${id}`);
    assert.ok(existsSync(join(store, 'overlay-images', id, 'manifest')));
  }
  for (const id of known) {
    const directory = join(store, 'overlay', id);
    assert.equal(statSync(join(directory, 'diff')).isFile(), true);
    const link = readFileSync(join(directory, 'link'), 'utf8');
    assert.equal(statSync(join(store, 'overlay/l', link)).ino, statSync(join(directory, 'diff')).ino);
    assert.equal(diffIdOf(id), id);
  }
}

/** Puts the archive together as podman does, with the payloads left out: only of images without any. */
function diffIdOf(id: string): string {
  const lines = gunzipSync(readFileSync(join(store, 'overlay-layers', `${id}.tar-split.gz`)))
    .toString()
    .trim()
    .split('\n');
  const hash = createHash('sha256');
  for (const [index, line] of lines.entries()) {
    const { type, payload, position, name, size } = JSON.parse(line) as {
      type: number;
      payload: string | null;
      position: number;
      name?: string;
      size?: number;
    };
    assert.equal(position, index);
    if (type === 2) hash.update(Buffer.from(payload ?? '', 'base64'));
    else if (size !== undefined) hash.update(readFileSync(at('trees', treeOf.get(id) ?? '', name ?? '')));
  }
  return hash.digest('hex');
}

const treeOf = new Map<string, string>();

function addTree(name: string, extra: string): void {
  const tree = at('trees', name);
  if (!existsSync(tree)) makeRootTree(tree, 100_000);
  writeFileSync(join(tree, 'etc/extra'), extra);
  importTree(repository, tree, name);
  exportStore();
  for (const { names, layer } of images())
    for (const each of names) treeOf.set(layer, each.replace(/^localhost\/|:latest$/g, ''));
}

before(() => mkdirSync(at('trees')));
after(() => scratch.remove());

test('every image is there with its layer, for everybody to read; the archive of each gives its diff_id', () => {
  addTree('one', 'first');
  addTree('two', 'second '.repeat(1000));
  assert.deepEqual(
    images()
      .map(({ names }) => names[0] ?? '')
      .sort((a, b) => a.localeCompare(b)),
    ['localhost/one:latest', 'localhost/two:latest'],
  );
  assertWhole();
  const closed = run('find', store, '!', '-perm', '-o+r', '-printf', '%P\n').trim();
  assert.equal(closed, '.cfsctl-lock');
  assert.equal(runAs(4712, ['cat', join(store, 'overlay-images/images.json')]).status, 0);
});

test('exported again nothing changes, and nothing is read again', () => {
  const listing = (): string => run('find', store, '-printf', '%P %T@ %i\n');
  const before = listing();
  const { status, stderr } = exportStore();
  assert.deepEqual([status, stderr], [0, '']);
  assert.equal(listing(), before);
});

test('tag, rm and gc: the store follows', () => {
  run(CFSCTL, 'tag', '--repo', repository, 'two', 'three');
  assert.deepEqual(images().flatMap(({ names }) => names).length, 3);
  run(CFSCTL, 'rm', '--repo', repository, 'two', 'three');
  assert.deepEqual(
    images().map(({ names }) => names[0]),
    ['localhost/one:latest'],
  );
  assertWhole();
  run(CFSCTL, 'gc', '--repo', repository, '--force');
  assertWhole();
  assert.equal(readdirSync(join(store, 'overlay')).length, 2);
  assert.equal(readdirSync(join(store, 'overlay/l')).length, 1);
  assert.equal(readdirSync(join(store, 'overlay-layers')).length, 3);
});

test('one tree with two configurations: two images, one layer; one configuration with two names: one image', () => {
  importTree(repository, at('trees/one'), 'configured', { config: { Cmd: ['/bin/true'] } });
  importTree(repository, at('trees/one'), 'again');
  exportStore();
  assert.equal(images().length, 2);
  assert.equal(layers().length, 1);
  assert.deepEqual(
    images()
      .map(({ names }) => names)
      .sort((a, b) => a.length - b.length),
    [['localhost/configured:latest'], ['localhost/again:latest', 'localhost/one:latest']],
  );
});

test('an image that podman could not read is left out, and does no harm to others', () => {
  for (const [name, config] of [
    ['bad-time', { created: 'yesterday' }],
    ['bad-history', { history: [{ created: '2025-13-01T00:00:00Z' }] }],
    ['bad-cmd', { config: { Cmd: 'sh' } }],
    ['bad-label', { config: { Labels: { a: 1 } } }],
  ] as const)
    importTree(repository, at('trees/one'), name, config);
  const { status, stdout } = exportStore();
  assert.equal(status, 1);
  for (const name of ['bad-time', 'bad-history', 'bad-cmd', 'bad-label'])
    assert.match(stdout, new RegExp(`^left out ${name}: the configuration of the image is malformed: `, 'm'));
  assert.equal(images().length, 2);
  for (const name of ['bad-time', 'bad-history', 'bad-cmd', 'bad-label']) rmSync(join(repository, 'oci/refs', name));
  assert.equal(exportStore().status, 0);
});

test('only a directory that is empty or ours is written to, and as root only one of our own', () => {
  const foreign = at('foreign');
  mkdirSync(join(foreign, 'overlay-images'), { recursive: true });
  assert.match(exportStore(foreign).stderr, /neither empty nor a store that cfsctl made/);
  const open = at('open');
  mkdirSync(open);
  chmodSync(open, 0o777);
  assert.match(exportStore(open).stderr, /writable by others/);
  symlinkSync(store, at('link'));
  assert.match(exportStore(at('link')).stderr, /is a symbolic link/);
});

test('as root nothing is made where another user could put a link in its place', () => {
  const home = at('home');
  mkdirSync(home);
  chownSync(home, 4712, 4712);
  for (const name of ['store', 'deep/store']) assert.match(exportStore(join(home, name)).stderr, /belongs to uid 4712/);
  assert.deepEqual(readdirSync(home), []);
  symlinkSync(at('somewhere'), at('way'));
  assert.equal(exportStore(at('way', 'store')).status, 1);
  assert.equal(existsSync(at('somewhere')), false);
});

test('a reader that keeps the locks does not stop the administrator', async () => {
  // As c/storage locks: fcntl(2), the whole file.
  const script =
    '$| = 1; for (@ARGV) { open my $f, "<", $_ or die; my $l = pack("s s x4 q q l x4", 0, 0, 0, 0, 0); fcntl($f, 6, $l) or die; push @keep, $f } print "locked"; sleep 60';
  const locks = ['overlay-images/images.lock', 'overlay-layers/layers.lock'].map((name) => join(store, name));
  const holder = spawn('setpriv', ['--reuid=4712', '--regid=4712', '--clear-groups', 'perl', '-e', script, ...locks], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await once(holder.stdout, 'data');
    importTree(repository, at('trees/one'), 'new-name', { author: 'somebody' });
    assert.equal(exportStore().status, 0);
    assert.equal(images().length, 3);
  } finally {
    holder.kill('SIGKILL');
    await once(holder, 'exit');
  }
});

test('killed at any moment, it leaves a store that is whole, and the next run completes it', async () => {
  const reference = new Set(images().map(({ id }) => id));
  for (let trial = 0; trial < 12; trial += 1) {
    // One image goes and one comes, so that everything is written.
    const tree = at('trees', `killed-${trial}`);
    cpSync(at('trees/one'), tree, { recursive: true, verbatimSymlinks: true });
    writeFileSync(join(tree, 'etc/extra'), `trial ${trial}`);
    importTree(repository, tree, 'killed');
    const child = spawn(CFSCTL, ['podman', 'export-store', '--repo', repository, store], { stdio: 'ignore' });
    const ended = once(child, 'exit');
    await sleep(60 + trial * 15);
    child.kill('SIGKILL');
    await ended;
    const listed = images();
    for (const id of reference)
      assert.ok(
        listed.some((image) => image.id === id),
        'an image that stays is always listed',
      );
    for (const { layer } of listed)
      treeOf.set(layer, layer === listed.find(({ names }) => names.includes('localhost/one:latest'))?.layer ? 'one' : 'killed-x');
    const known = new Set(layers().map(({ id }) => id));
    for (const { layer } of listed) assert.ok(known.has(layer) && existsSync(join(store, 'overlay', layer, 'cfs-layer.json')));
  }
  assert.equal(exportStore().status, 0);
  const stray = run('find', store, '-name', '*.tmp', '-o', '-name', '.*tmp').trim();
  assert.equal(stray, '');
  assert.equal(readdirSync(join(store, 'overlay')).length, 3);
});
