// Repositories of an ordinary user, from the first import to the last object: the built cfsctl, no service, no root.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { CFSCTL, cfsctl, outputOf } from '../support/cfsctl.js';
import { makeErofs } from '../support/images.js';
import { run, SHARED, withoutSample } from '../support/machine.js';
import { assertRefused } from '../support/outcome.js';
import { makeScratch } from '../support/scratch.js';

const UID = 4712;
const skip = withoutSample();
const scratch = makeScratch();
const at = (...names: string[]): string => join(scratch.path, ...names);
const sample = join(SHARED, 'sample/sample.cfs');
let count = 0;

before(() => {
  chownSync(scratch.path, UID, UID);
  mkdirSync(at('tree/sub'), { recursive: true });
  for (let i = 0; i < 20; i++) writeFileSync(at('tree', `file-${i}`), `${i} `.repeat(100));
  writeFileSync(at('tree/small'), 'inside');
  writeFileSync(at('tree/sub/caf\u00E9'), 'é'.repeat(100));
  makeErofs(at('plain.erofs'), { 'hello.txt': 'hello\n' });
  if (skip) return;
  run('tar', '-C', scratch.path, '--no-same-owner', '-xzf', join(SHARED, 'sample/objects.tar.gz'));
  run('chmod', '-R', 'u=rwX,go=rX', at('objects'));
});
after(() => scratch.remove());

/** Path of a repository that is not there yet. */
const newRepository = (): string => at(`repository-${count++}`);

interface Import {
  readonly digest: string;
  readonly name: string;
  readonly repository: string;
  readonly written: { readonly objects: number; readonly bytes: string };
  readonly policy: string;
}

function importInto(repository: string, ...words: string[]): Import {
  return JSON.parse(outputOf('--json', 'import', '--repo', repository, ...words)) as Import;
}

function assertSound(repository: string, counts: RegExp = /./): void {
  const said = outputOf('fsck', '--repo', repository);
  assert.match(said, /: all is well\n$/);
  assert.match(said, counts);
}

test('import of a directory: its image is that of mkfs, its objects and modes are right', () => {
  const repository = newRepository();
  const said = outputOf('import', '--repo', repository, at('tree'), 'team/base');
  const digest = `sha256:${outputOf('mkfs', '--print-digest-only', at('tree')).trim()}`;
  assert.match(
    said,
    new RegExp(`^digest +${digest}\nname +team/base\nrepository +${repository}\nwritten +22 objects, [^]*\\[\\[rule\\]\\]`),
  );
  assertSound(repository, /^22 objects, 1 image, 1 name: /);
  for (const path of run('find', repository, '-type', 'd').trim().split('\n')) {
    const { mode, uid } = statSync(path);
    assert.deepEqual([mode & 0o7777, uid], [0o755, UID], path);
  }
  for (const path of run('find', join(repository, 'objects'), '-type', 'f').trim().split('\n'))
    assert.equal(statSync(path).mode & 0o7777, 0o644);
  const hex = digest.slice('sha256:'.length);
  run('fsck.erofs', join(repository, 'images', hex));
  assert.equal(run('fsverity', 'digest', '--compact', join(repository, 'images/refs/team/base')).trim(), hex);
});

test('import again writes nothing; of a tree that has changed, only what is new', () => {
  const repository = newRepository();
  const tree = at('tree-2');
  cpSync(at('tree'), tree, { recursive: true, preserveTimestamps: true });
  const first = importInto(repository, tree, 'one');
  const again = importInto(repository, tree, 'two');
  assert.deepEqual([again.digest, again.written], [first.digest, { objects: 0, bytes: '0' }]);
  writeFileSync(join(tree, 'new'), 'new '.repeat(100));
  const changed = importInto(repository, tree, 'two');
  assert.notEqual(changed.digest, first.digest);
  assert.equal(changed.written.objects, 2, 'the new file, and the image');
  assertSound(repository, /^24 objects, 2 images, 2 names: /);
});

test('tag, rm and gc: an image lives as long as it has a name', () => {
  const repository = newRepository();
  const { digest } = importInto(repository, at('tree'), 'base');
  const repo = ['--repo', repository];
  assert.equal(outputOf('tag', ...repo, 'base', 'team/old') + outputOf('tag', ...repo, digest, 'other'), '');
  assert.equal(outputOf('rm', ...repo, 'base', 'team/old'), '');
  assert.equal(outputOf('gc', ...repo), 'removed 0 objects, 0 bytes\n');
  assertSound(repository, /^22 objects, 1 image, 1 name: /);
  assert.equal(outputOf('rm', ...repo, 'other'), '');
  const before = run('find', repository);
  assert.match(
    outputOf('gc', '--dry-run', ...repo),
    new RegExp(`^would forget ${digest}\nwould remove 22 objects, [\\d.]+ KiB\n$`),
  );
  assert.equal(run('find', repository), before);
  const collected = JSON.parse(outputOf('--json', 'gc', ...repo)) as Record<string, unknown>;
  const { bytes: _, ...rest } = collected;
  assert.deepEqual(rest, { dryRun: false, images: [digest], ociImages: [], objects: 22, mounted: [] });
  assert.equal(run('find', join(repository, 'objects'), '-type', 'f'), '');
  assertSound(repository, /^0 objects, 0 images, 0 names: /);
});

test('import of an image with its objects: byte by byte, each object checked', { skip }, () => {
  const repository = newRepository();
  const imported = importInto(repository, '--objects', at('objects'), sample, 'sample');
  assert.equal(imported.digest, `sha256:${run('fsverity', 'digest', '--compact', sample).trim()}`);
  assert.equal(imported.written.objects, 903);
  assertSound(repository, /^903 objects, 1 image, 1 name: /);
  assert.ok(readFileSync(join(repository, 'images/refs/sample')).equals(readFileSync(sample)));
});

test('import of a dump, from a file and from standard input, finds its objects in the repository', { skip }, () => {
  const repository = newRepository();
  const { digest } = importInto(repository, '--objects', at('objects'), sample, 'sample');
  const dump = outputOf('dump', sample);
  writeFileSync(at('sample.dump'), dump);
  assert.equal(importInto(repository, at('sample.dump'), 'from-dump').digest, digest);
  const piped = spawnSync(CFSCTL, ['--json', 'import', '--repo', repository, '-', 'from-pipe'], {
    input: dump,
    uid: UID,
    gid: UID,
    encoding: 'utf8',
  });
  assert.deepEqual([piped.stderr, (JSON.parse(piped.stdout) as Import).digest], ['', digest]);
  assertSound(repository, /^903 objects, 1 image, 3 names: /);
});

test('import of a plain EROFS image: it is an image like others', () => {
  const repository = newRepository();
  const { digest, written } = importInto(repository, at('plain.erofs'), 'plain');
  assert.deepEqual([digest, written.objects], [`sha256:${run('fsverity', 'digest', '--compact', at('plain.erofs')).trim()}`, 1]);
  assertSound(repository, /^1 object, 1 image, 1 name: /);
  assert.equal(outputOf('gc', '--repo', repository), 'removed 0 objects, 0 bytes\n');
});

test('a repository of sha512: a directory gets such objects, an image with others is refused', { skip }, () => {
  const repository = newRepository();
  const { digest: other } = importInto(repository, at('tree'), 'base');
  const meta = readFileSync(join(repository, 'meta.json'), 'utf8');
  rmSync(repository, { recursive: true });
  mkdirSync(repository);
  writeFileSync(join(repository, 'meta.json'), meta.replace('sha256', 'sha512'));
  chownSync(repository, UID, UID);
  const { digest } = importInto(repository, at('tree'), 'base');
  assert.match(digest, /^sha512:[0-9a-f]{128}$/);
  assert.notEqual(digest, other);
  assertSound(repository, /^22 objects, 1 image, 1 name: /);
  assertRefused(
    cfsctl('import', '--repo', repository, '--objects', at('objects'), sample, 'sample'),
    /has sha256 objects, the repository sha512/,
  );
});

const refused: Readonly<Record<string, [words: () => string[], message: RegExp]>> = {
  'the objects are nowhere': [
    () => [sample, 'x'],
    /missing in the repository, .*00\/4946[0-9a-f]+ and 901 others\n {2}hint: --objects/,
  ],
  'an object is not in the store given': [
    () => ['--objects', spoiled((path) => rmSync(path)), sample, 'x'],
    /missing in .*spoiled-\d+, or have another size: [0-9a-f/]+\n/,
  ],
  'an object was cut short': [() => ['--objects', spoiled((path) => writeFileSync(path, 'x')), sample, 'x'], /another size/],
  'an object was changed': [
    () => ['--objects', spoiled((path) => writeFileSync(path, 'x'.repeat(statSync(path).size))), sample, 'x'],
    /the object [0-9a-f/]+ is not what its name says/,
  ],
  'an image without the digests of its objects': [
    () => [dumpFile('/ 0 40755 2 0 0 0 0.0 - - -\n/x 100 100644 1 0 0 0 0.0 ab/cd - -\n'), 'x'],
    /not at the path of its digest: ab\/cd/,
  ],
  'a dump with a fault': [() => [dumpFile('/ 0 40755 2 0 0 0 0.0 - - -\n/x\n'), 'x'], /line 2, column/],
  'what is neither': [() => ['/etc/passwd', 'x'], /\/etc\/passwd: line 1, column/],
  'a damaged image': [() => [damaged(), 'x'], /damaged\.cfs: /],
  'a directory that may not be read': [() => ['/root', 'x'], /\/root/],
  'what is not there': [() => [at('nope'), 'x'], /nope cannot be opened \(ENOENT\)/],
  'a name with ..': [() => [at('tree'), 'a/../b'], /a name is parts of/],
  'a name that looks like a digest': [() => [at('tree'), 'sha256:ab'], /a name is parts of/],
  'a name of 9 parts': [() => [at('tree'), 'a/b/c/d/e/f/g/h/i'], /at most 8 parts/],
};

function spoiled(spoil: (object: string) => void): string {
  const store = at(`spoiled-${count++}`);
  cpSync(at('objects'), store, { recursive: true });
  const [object] = run('find', store, '-type', 'f', '-size', '+8').trim().split('\n').sort();
  spoil(object!);
  return store;
}

function dumpFile(text: string): string {
  writeFileSync(at('some.dump'), text);
  return at('some.dump');
}

function damaged(): string {
  const bytes = readFileSync(sample);
  bytes.fill(0xff, 1152, 1200);
  writeFileSync(at('damaged.cfs'), bytes);
  return at('damaged.cfs');
}

for (const [what, [words, message]] of Object.entries(refused)) {
  test(`import refuses ${what}, and names nothing`, { skip }, () => {
    const repository = newRepository();
    assertRefused(cfsctl('import', '--repo', repository, ...words()), message);
    if (!readdirSync(scratch.path).includes(repository.slice(scratch.path.length + 1))) return;
    assert.deepEqual(readdirSync(join(repository, 'images')), ['refs']);
    assertSound(repository, / 0 images, 0 names: /);
  });
}

test('tag and rm of what is not there: exit 1, and what there is stays', () => {
  const repository = newRepository();
  importInto(repository, at('tree'), 'base');
  const repo = ['--repo', repository];
  assertRefused(cfsctl('tag', ...repo, 'nope', 'x'), /has no image nope\n {2}hint: /);
  assertRefused(cfsctl('tag', ...repo, `sha256:${'0'.repeat(64)}`, 'x'), /has no image sha256:0/);
  assertRefused(cfsctl('tag', ...repo, 'sha256:AB', 'x'), /digest/);
  assertRefused(cfsctl('tag', ...repo, 'base', '../x'), /a name is parts of/);
  assertRefused(cfsctl('rm', ...repo, 'nope'), /has no name nope/);
  assertRefused(cfsctl('rm', ...repo, 'base', 'nope'), /has no name nope\n {2}hint: the other names are removed/);
  assertSound(repository, /^22 objects, 1 image, 0 names: /);
});

test('a repository that is missing is made by import only, and not for a source that is not there', () => {
  const refusal = /the repository .*none: openat2: ENOENT\n {2}hint: cfsctl import makes a repository/;
  for (const words of [['tag', 'a', 'b'], ['rm', 'a'], ['gc'], ['fsck']])
    assertRefused(cfsctl(...words, '--repo', at('none')), refusal);
  for (const words of [[at('nope')], ['--objects', at('nope'), at('tree')]])
    assertRefused(cfsctl('import', '--repo', at('none'), ...words, 'x'), /nope cannot be opened \(ENOENT\)/);
  assert.ok(!readdirSync(scratch.path).includes('none'));
});

test('fsck reports each problem, exit 1; import of the same mends what is missing', () => {
  const repository = newRepository();
  importInto(repository, at('tree'), 'base');
  const [first, second] = run('find', join(repository, 'objects'), '-type', 'f', '-size', '-2').trim().split('\n').sort();
  rmSync(first!);
  chmodSync(second!, 0o644);
  appendFileSync(second!, 'more');
  const { status, stdout, stderr } = cfsctl('fsck', '--repo', repository);
  assert.deepEqual([status, stderr], [1, '']);
  assert.match(
    stdout,
    /^objects\/.* has the digest .*\nimages\/.* needs .*\nimages\/.* needs .*\n21 objects, 1 image, 1 name: 3 problems\n$/,
  );
  const report = JSON.parse(cfsctl('--json', 'fsck', '--repo', repository).stdout) as {
    ok: boolean;
    problems: { problem: string }[];
  };
  assert.deepEqual(
    [report.ok, report.problems.map(({ problem }) => problem).sort()],
    [false, ['missing-object', 'missing-object', 'wrong-digest']],
  );
  importInto(repository, at('tree'), 'base');
  assertSound(repository, /^22 objects/);
});

test('two imports at once, and a gc that has to wait for them', async () => {
  const repository = newRepository();
  importInto(repository, at('tree'), 'base');
  const script = `for i in 1 2; do '${CFSCTL}' import --repo '${repository}' '${at('tree')}' name-$i >/dev/null & done
    '${CFSCTL}' --address unix:path=/nonexistent gc --repo '${repository}' >/dev/null & wait`;
  const { status, stderr } = spawnSync('bash', ['-c', script], { encoding: 'utf8', uid: UID, gid: UID });
  assert.deepEqual([status, stderr], [0, '']);
  assertSound(repository, /^22 objects, 1 image, 3 names: /);
});

test('gc waits as long as --timeout says', () => {
  const repository = newRepository();
  importInto(repository, at('tree'), 'base');
  const words = ['--timeout', '0.3', '--address', 'unix:path=/nonexistent', 'gc', '--repo', repository];
  const { status, stderr } = spawnSync('flock', ['--shared', repository, CFSCTL, ...words], {
    encoding: 'utf8',
    uid: UID,
    gid: UID,
  });
  assert.equal(status, 1);
  assert.match(stderr, /^cfsctl: others were at work in the repository .* for 0\.3 s\n {2}hint: /);
});
