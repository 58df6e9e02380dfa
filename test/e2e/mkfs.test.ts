// cfsctl mkfs and digest, as people use them: the built program, compared with reference images and with the tools of others.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { CFSCTL } from '../support/cfsctl.js';
import { requirePrivileges, run, SHARED, withoutSample } from '../support/machine.js';
import { assertDone, assertRefused } from '../support/outcome.js';
import { type Outcome, runAs } from '../support/run-as.js';
import { makeScratch } from '../support/scratch.js';

requirePrivileges();
const UID = 4713;
const scratch = makeScratch();
const at = (...names: string[]): string => join(scratch.path, ...names);
/** A small tree that belongs to the user. */
const tree = at('tree');

before(() => {
  mkdirSync(at('tree/sub'), { recursive: true });
  writeFileSync(at('tree/object'), 'o'.repeat(100_000));
  writeFileSync(at('tree/sub/inline'), 'hello\n');
  mkdirSync(at('home'));
  run('chown', '-R', `${UID}:${UID}`, tree, at('home'));
});
after(() => scratch.remove());

/** As root, where what is in the tree is root's. */
function asRoot(...words: string[]): Outcome {
  return runAs(0, [CFSCTL, ...words], { cwd: scratch.path });
}

function asUser(...words: string[]): Outcome {
  return runAs(UID, [CFSCTL, ...words], { cwd: at('home') });
}

function objectsIn(path: string): string[] {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1))
    .sort();
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

test(
  'the sample: image, digest and objects are those of the reference tool, and a second run writes no object',
  { skip: withoutSample() },
  () => {
    mkdirSync(at('sample'));
    run('tar', '-C', at('sample'), '--xattrs', '--xattrs-include=*', '-xpzf', join(SHARED, 'sample/root.tar.gz'));
    const [root] = readdirSync(at('sample'));
    const source = at('sample', root!);
    const digest = readFileSync(join(SHARED, 'sample/digest'), 'utf8');
    assertDone(asRoot('mkfs', '--digest-store', at('objects'), '--print-digest', source, at('sample.cfs')), digest);
    assert.ok(readFileSync(at('sample.cfs')).equals(readFileSync(join(SHARED, 'sample/sample.cfs'))));
    const listed = run('tar', '-tzf', join(SHARED, 'sample/objects.tar.gz')).trimEnd().split('\n');
    const reference = listed
      .filter((name) => !name.endsWith('/'))
      .map((name) => name.replace('objects/', ''))
      .sort();
    assert.equal(reference.length, 902);
    assert.deepEqual(objectsIn(at('objects')), reference);
    assertDone(asRoot('verify', at('sample.cfs'), at('objects')), /^902 objects/);
    run('fsck.erofs', at('sample.cfs'));
    const json: unknown = JSON.parse(asRoot('--json', 'mkfs', '--digest-store', at('objects'), source, at('again.cfs')).stdout);
    assert.deepEqual(json, {
      digest: `sha256:${digest.trim()}`,
      size: 245_760,
      version: 0,
      entries: 1354,
      objects: 902,
      objectBytes: '6294188',
      written: { objects: 0, bytes: '0' },
    });
  },
);

test('what is written is well formed to erofs-utils, for a tree with every kind of entry', () => {
  const odd = at('odd');
  mkdirSync(odd);
  run('mknod', join(odd, 'null'), 'c', '1', '3');
  run('mknod', join(odd, 'disk'), 'b', '259', '1048575');
  run('mkfifo', join(odd, 'fifo'));
  symlinkSync('/'.padEnd(4000, 'x'), join(odd, 'symlink'));
  for (let i = 0; i < 500; i++) writeFileSync(join(odd, `file-${i}`), 'x'.repeat(i));
  run('setfattr', '-n', 'trusted.overlay.opaque', '-v', 'y', odd);
  assertDone(asRoot('mkfs', odd, at('odd.cfs')), '');
  run('fsck.erofs', at('odd.cfs'));
  assert.match(run('dump.erofs', '--path=/disk', at('odd.cfs')), /block dev/);
  assert.match(asRoot('ls', at('odd.cfs')).stdout, /259, *1048575 .*disk$/m);
  assert.doesNotMatch(asRoot('ls', at('odd.cfs')).stdout, /whiteout/);
});

test('whiteouts choose version 1, unless a version is asked for or devices are skipped', () => {
  const layer = at('layer');
  mkdirSync(layer);
  run('mknod', join(layer, 'gone'), 'c', '0', '0');
  writeFileSync(join(layer, 'file'), 'x');
  const versionOf = (...options: string[]): unknown =>
    (JSON.parse(asRoot('--json', 'mkfs', ...options, layer, at('layer.cfs')).stdout) as Record<string, unknown>)['version'];
  assert.deepEqual(
    [
      versionOf(),
      versionOf('--max-version=0'),
      versionOf('--min-version=0'),
      versionOf('--min-version=1'),
      versionOf('--skip-devices'),
    ],
    [1, 0, 0, 1, 0],
  );
  assert.equal(asRoot('dump', at('layer.cfs')).stdout.split('\n').length, 3);
  // overlayfs makes its whiteouts names of one inode, which an image cannot have.
  run('ln', join(layer, 'gone'), join(layer, 'gone-too'));
  assertDone(asRoot('mkfs', '--hard-links', layer, at('layer.cfs')), '');
  assert.match(asRoot('dump', at('layer.cfs')).stdout, /^\/gone 0 20644 1 .*\n\/gone-too 0 20644 1 /m);
});

test('what is mounted below is part of the tree', () => {
  const outer = at('outer');
  mkdirSync(join(outer, 'inner'), { recursive: true });
  run('mount', '-t', 'tmpfs', '-o', 'mode=711', 'tmpfs', join(outer, 'inner'));
  try {
    writeFileSync(join(outer, 'inner/file'), 'x'.repeat(100));
    assertDone(asRoot('mkfs', outer, at('outer.cfs')), '');
    assert.match(asRoot('dump', at('outer.cfs')).stdout, /^\/inner \d+ 40711 .*\n\/inner\/file 100 /m);
  } finally {
    run('umount', join(outer, 'inner'));
  }
});

test('an ordinary user makes image and objects; modes follow the umask for the image, and not for objects', () => {
  assertDone(
    runAs(UID, ['sh', '-c', `umask 077; ${CFSCTL} mkfs --digest-store new/objects ${tree} tree.cfs`], { cwd: at('home') }),
    '',
  );
  assert.equal(statSync(at('home/tree.cfs')).mode & 0o777, 0o600);
  const [object] = objectsIn(at('home/new/objects'));
  assert.equal(statSync(at('home/new/objects', object!)).mode & 0o777, 0o644);
  assertDone(asUser('verify', 'tree.cfs', 'new/objects'), /^1 object,/);
});

test('the image is replaced in one piece: its mode stays, a symlink to it stays, and a pipe takes the bytes', () => {
  const old = at('home/replaced.cfs');
  writeFileSync(old, 'old');
  chmodSync(old, 0o640);
  chownSync(old, UID, UID);
  symlinkSync('replaced.cfs', at('home/link.cfs'));
  assertDone(asUser('mkfs', tree, 'link.cfs'), '');
  assert.ok(lstatSync(at('home/link.cfs')).isSymbolicLink());
  assert.equal(statSync(old).mode & 0o777, 0o640);
  run('fsck.erofs', old);
  const piped = runAs(UID, ['sh', '-c', `mkfifo fifo; ${CFSCTL} mkfs ${tree} fifo & sha256sum < fifo; wait`], {
    cwd: at('home'),
  });
  assert.equal(piped.stdout.slice(0, 64), sha256(readFileSync(old)));
  assert.deepEqual(
    readdirSync(at('home')).filter((name) => name.startsWith('.')),
    [],
  );
});

test('a file that may not be read, among many that threads read: its name, and no image', () => {
  const many = at('many');
  mkdirSync(many);
  for (let i = 0; i < 2000; i++) writeFileSync(join(many, `${i}`), 'x'.repeat(100 + i));
  for (const i of [3, 1000, 1999]) {
    chmodSync(join(many, `${i}`), 0o600);
    assertRefused(
      asUser('mkfs', '--digest-store', 'many-objects', many, 'many.cfs'),
      new RegExp(`many/${i} cannot be read \\(EACCES\\)\n  hint: `),
    );
    chmodSync(join(many, `${i}`), 0o644);
  }
  assert.ok(!readdirSync(at('home')).includes('many.cfs'));
  assertDone(asUser('mkfs', '--digest-store', 'many-objects', many, 'many.cfs'), '');
  assertDone(asUser('verify', 'many.cfs', 'many-objects'), /^2000 objects/);
});

test('a file that somebody writes to all the time: an error that names it, and the old image stays', async () => {
  const busy = at('busy');
  mkdirSync(busy);
  writeFileSync(join(busy, 'log'), Buffer.alloc(200 << 20));
  writeFileSync(at('busy.cfs'), 'old');
  const outcome = runAs(
    0,
    [
      'sh',
      '-c',
      `(while :; do echo x >> busy/log; done) & writer=$!; ${CFSCTL} mkfs --digest-store busy-objects busy busy.cfs; status=$?; kill $writer; exit $status`,
    ],
    {
      cwd: scratch.path,
    },
  );
  assertRefused(outcome, /busy\/log changed while it was read\n {2}hint: /);
  assert.equal(readFileSync(at('busy.cfs'), 'utf8'), 'old');
  assert.deepEqual(objectsIn(at('busy-objects')), []);
});

test('a sparse file of a terabyte is read in no time, and its object is sparse', () => {
  const sparse = at('sparse');
  mkdirSync(sparse);
  writeFileSync(join(sparse, 'disk'), 'start');
  truncateSync(join(sparse, 'disk'), 2 ** 40);
  assertDone(asRoot('mkfs', '--digest-store', at('sparse-objects'), sparse, at('sparse.cfs')), '');
  const [object] = objectsIn(at('sparse-objects'));
  const { size, blocks } = statSync(at('sparse-objects', object!));
  assert.equal(size, 2 ** 40);
  assert.ok(blocks * 512 < 2 ** 25, `${blocks} blocks`);
});

test('more xattrs than an image can hold: the path, and by how much', () => {
  mkdirSync(at('tmpfs'));
  run('mount', '-t', 'tmpfs', 'tmpfs', at('tmpfs'));
  try {
    writeFileSync(at('tmpfs/file'), 'x');
    for (let i = 0; i < 9; i++) run('setfattr', '-n', `trusted.key${i}`, '-v', 'v'.repeat(4000), at('tmpfs/file'));
    assertRefused(
      asRoot('mkfs', at('tmpfs'), at('tmpfs.cfs')),
      /tmpfs\/file: the extended attributes take 36183 bytes; .* 32767/,
    );
    assertDone(asRoot('mkfs', '--user-xattrs', at('tmpfs'), at('tmpfs.cfs')), '');
  } finally {
    run('umount', at('tmpfs'));
  }
});

const REFUSED: Readonly<Record<string, { words: () => string[]; says: RegExp }>> = {
  'a source that is not there': { words: () => ['nope', 'x.cfs'], says: /the directory nope cannot be opened \(ENOENT\)/ },
  'a source that is a file': { words: () => [at('tree/object'), 'x.cfs'], says: /cannot be opened \(ENOTDIR\)/ },
  'a dump that is not there': { words: () => ['--from-file', 'nope', 'x.cfs'], says: /nope cannot be opened \(ENOENT\)/ },
  'a dump that is a directory': { words: () => ['--from-file', tree, 'x.cfs'], says: /tree/ },
  'an image where one may not write': { words: () => [tree, '/x.cfs'], says: /the image \/x\.cfs cannot be written \(EACCES\)/ },
  'an image that is a directory': { words: () => [tree, tree], says: /cannot be written \(EISDIR\)/ },
  'a store where one may not write': {
    words: () => ['--digest-store', '/objects', tree, 'x.cfs'],
    says: /object store \/objects cannot be opened \(EACCES\)/,
  },
  'a store that is a file': {
    words: () => ['--digest-store', at('tree/object'), tree, 'x.cfs'],
    says: /object store .* \(EEXIST|ENOTDIR\)/,
  },
};
for (const [what, { words, says }] of Object.entries(REFUSED)) {
  test(`mkfs refuses ${what}`, () => assertRefused(asUser('mkfs', ...words()), says));
}

test('a full disk: which store it was, and the next run goes on', () => {
  mkdirSync(at('full'));
  run('mount', '-t', 'tmpfs', '-o', `size=1m,uid=${UID}`, 'tmpfs', at('full'));
  try {
    writeFileSync(at('full/ballast'), Buffer.alloc(990_000));
    assertRefused(
      asUser('mkfs', '--digest-store', at('full/objects'), tree, 'full.cfs'),
      /object store .*full\/objects cannot be written \(ENOSPC\)\n {2}hint: make room/,
    );
    truncateSync(at('full/ballast'), 0);
    assertDone(asUser('mkfs', '--digest-store', at('full/objects'), tree, 'full.cfs'), '');
    assertDone(asUser('verify', 'full.cfs', at('full/objects')), /^1 object,/);
  } finally {
    run('umount', at('full'));
  }
});

test('a long file that the store has is not copied to find that out: there need be no room for it', () => {
  const [long, small] = [at('long'), at('little-room')];
  mkdirSync(long);
  mkdirSync(small);
  writeFileSync(join(long, 'file'), randomBytes(20 << 20));
  run('mount', '-t', 'tmpfs', '-o', `size=30m,uid=${UID}`, 'tmpfs', small);
  try {
    for (const written of ['1', '0']) {
      const { stdout, stderr } = asUser('--json', 'mkfs', '--digest-store', join(small, 'objects'), long, 'long.cfs');
      assert.match(stdout, new RegExp(`"written":{"objects":${written},`), stderr);
    }
  } finally {
    run('umount', small);
  }
});
