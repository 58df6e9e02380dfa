// A store for podman that was damaged: it is found, and the command that is said to mend it does. And what is no place for a store: one clear line.
import assert from 'node:assert/strict';
import { chmodSync, chownSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { CFSCTL } from '../support/cfsctl.js';
import { run } from '../support/machine.js';
import { type TestImage, importTree } from '../support/oci-record.js';
import { makeRootTree } from '../support/podman-kit.js';
import { type Outcome, runAs } from '../support/run-as.js';
import { makeScratch } from '../support/scratch.js';

const scratch = makeScratch();
const at = (...names: string[]): string => join(scratch.path, ...names);
const repository = at('repo');
const store = at('store');
const exportTo = (directory: string, uid = 0): Outcome =>
  runAs(uid, [CFSCTL, 'podman', 'export-store', '--repo', repository, directory]);
const exportStore = (): Outcome => exportTo(store);
const json = (...words: string[]): unknown => JSON.parse(run(CFSCTL, '--json', ...words));

let damaged: TestImage;
/** Of the image that gets damaged, and of another one: the ids of their layers. */
let layer: string;
let other: string;

interface Listed {
  readonly names: readonly string[];
  readonly layer: string;
}

before(() => {
  const tree = makeRootTree(at('tree'), 1000);
  damaged = importTree(repository, tree, 'base');
  writeFileSync(join(tree, 'etc/extra'), 'extra\n');
  importTree(repository, tree, 'other');
  importTree(repository, tree, 'third');
  assert.equal(exportStore().status, 0);
  const images = JSON.parse(readFileSync(join(store, 'overlay-images/images.json'), 'utf8')) as Listed[];
  const layerOf = (name: string): string => images.find(({ names }) => names.includes(`localhost/${name}:latest`))!.layer;
  [layer, other] = [layerOf('base'), layerOf('other')];
});
after(() => scratch.remove());

/** Names, kinds, modes, sizes and contents of all that is in the store. */
function picture(): string {
  const listing = run('sh', '-c', 'cd "$1" && find . -printf "%P %y %m %s %l\\n" | sort', 'sh', store);
  return (
    listing +
    run(
      'sh',
      '-c',
      'cd "$1" && find . -type f ! -name "*.lock" ! -name .cfsctl-lock -exec sha256sum {} + | sort -k2',
      'sh',
      store,
    )
  );
}

const storeFinding = (): { status: string; says: string; mend: string | null } | undefined => {
  const { stdout } = runAs(0, [CFSCTL, '--json', 'doctor', '--store', store]);
  return (JSON.parse(stdout) as { check: string; status: string; says: string; mend: string | null }[]).find(
    ({ check }) => check === 'store',
  );
};

const inLayer = (...names: string[]): string => join(store, 'overlay', layer, ...names);
const replaceByDirectory = (path: string): void => {
  rmSync(path);
  mkdirSync(join(path, 'below'), { recursive: true });
};

const damages: [what: string, damage: () => void, names: RegExp][] = [
  ['the marker is no JSON', () => writeFileSync(inLayer('cfs-layer.json'), '{'), /cfs-layer\.json is damaged/],
  ['the marker is gone', () => rmSync(inLayer('cfs-layer.json')), /cfs-layer\.json is missing/],
  ['the marker is a directory', () => replaceByDirectory(inLayer('cfs-layer.json')), /cfs-layer\.json cannot be read \(EISDIR\)/],
  [
    "the marker is another layer's",
    () => cpSync(join(store, 'overlay', other, 'cfs-layer.json'), inLayer('cfs-layer.json')),
    /cfs-layer\.json is damaged/,
  ],
  ['its link file is gone', () => rmSync(inLayer('link')), /\/link is missing or damaged/],
  ['its link file is empty', () => writeFileSync(inLayer('link'), ''), /\/link is missing or damaged/],
  ['its link file is a directory', () => replaceByDirectory(inLayer('link')), /\/link is missing or damaged/],
  ['all links are gone', () => rmSync(join(store, 'overlay/l'), { recursive: true }), /overlay\/l\/.* is missing or damaged/],
  [
    'the place of the links is a file',
    () => {
      rmSync(join(store, 'overlay/l'), { recursive: true });
      writeFileSync(join(store, 'overlay/l'), '');
    },
    /overlay\/l\/.* is missing or damaged/,
  ],
  [
    'its link leads elsewhere',
    () => {
      const path = join(store, 'overlay/l', readFileSync(inLayer('link'), 'utf8'));
      rmSync(path);
      symlinkSync('../elsewhere/diff', path);
    },
    /overlay\/l\/.* is missing or damaged/,
  ],
  [
    'its tar-split data is gone',
    () => rmSync(join(store, 'overlay-layers', `${layer}.tar-split.gz`)),
    /tar-split\.gz is missing/,
  ],
  [
    'its tar-split data is empty',
    () => writeFileSync(join(store, 'overlay-layers', `${layer}.tar-split.gz`), ''),
    /tar-split\.gz is/,
  ],
  ['its place holder is gone', () => rmSync(inLayer('diff')), /\/diff is missing or damaged/],
  ['its place holder is a directory', () => replaceByDirectory(inLayer('diff')), /\/diff is missing or damaged/],
  ['a directory for mounts is gone', () => rmSync(inLayer('empty'), { recursive: true }), /\/empty is missing or damaged/],
  ['the layer is gone', () => rmSync(inLayer(), { recursive: true }), /cfs-layer\.json is missing/],
  [
    'the layer is a file',
    () => {
      rmSync(inLayer(), { recursive: true });
      writeFileSync(inLayer(), '');
    },
    /cfs-layer\.json is missing/,
  ],
];
for (const [what, damage, names] of damages)
  test(`${what}: doctor names it, and exported again it is as it was`, () => {
    const whole = picture();
    damage();
    const found = storeFinding();
    assert.deepEqual([found?.status, found?.mend], ['fail', `sudo cfsctl podman export-store ${store}`]);
    assert.match(found?.says ?? '', names);
    const { status, stderr } = exportStore();
    assert.equal(status, 0);
    assert.match(stderr, /^reading base$/m);
    assert.equal(picture(), whole);
    assert.equal(exportStore().stderr, '');
  });

for (const list of ['layers', 'images'])
  for (const text of ['{"a":1}', '[null]', '[{"id":7}]', '7', '[', ''])
    test(`${list}.json is ${text || 'empty'}: exported again it is as it was`, () => {
      const whole = picture();
      writeFileSync(join(store, `overlay-${list}/${list}.json`), text);
      assert.equal(exportStore().status, 0);
      assert.equal(picture(), whole);
    });

test('a list, its lock, the data of an image in the wrong form: written again', () => {
  const whole = picture();
  const images = join(store, 'overlay-images');
  for (const name of ['images.json', 'images.lock']) replaceByDirectory(join(images, name));
  replaceByDirectory(join(images, run('ls', images).split('\n')[0]!, 'manifest'));
  assert.equal(exportStore().status, 0);
  assert.equal(picture(), whole);
});

test('a damaged layer is mended by what follows the repository, too; of an image that is gone it just goes', () => {
  writeFileSync(inLayer('cfs-layer.json'), '{');
  run(CFSCTL, 'tag', '--repo', repository, damaged.digest, 'fourth');
  assert.deepEqual(storeFinding(), { check: 'store', status: 'ok', says: `${store} has 4 images`, mend: null });
  writeFileSync(inLayer('cfs-layer.json'), '{');
  run(CFSCTL, 'rm', '--repo', repository, 'base', 'fourth');
  assert.equal(existsSync(inLayer()), false);
  assert.equal(storeFinding()?.says, `${store} has 2 images`);
});

/** One line that says what it is, one with what to do; and the same as JSON. */
function assertComplains(directory: string, message: RegExp, hint: RegExp, uid = 0): void {
  const { status, stdout, stderr } = exportTo(directory, uid);
  assert.deepEqual([status, stdout], [1, ''], stderr);
  const [first = '', second = '', ...rest] = stderr.split('\n');
  assert.match(first, message);
  assert.match(second, hint);
  assert.deepEqual(rest, ['']);
  const words = [CFSCTL, '--json', 'podman', 'export-store', '--repo', repository, directory];
  const said = JSON.parse(runAs(uid, words).stderr) as { error: { message: string } };
  assert.match(JSON.stringify(said), message);
}

test('not as root where only root may write, and other places where no store can be', () => {
  writeFileSync(at('file'), '');
  chmodSync(scratch.path, 0o755);
  for (const directory of [store, at('new'), at('new/below')])
    assertComplains(directory, /the store .* cannot be written \(.*EACCES/, /hint: run it as root/, 4712);
  for (const directory of [at('file'), '/dev/full', at('file/below')])
    assertComplains(directory, /the store .* cannot be written \(.*(?:ENOTDIR|EEXIST)/, /hint: name another directory/);
  assertComplains('', /the store has no name/, /hint: name a directory/);
  assertComplains(at('x'.repeat(300)), /cannot be written \(.*ENAMETOOLONG/, /hint: name another directory/);
  const foreign = at('foreign');
  mkdirSync(foreign);
  chownSync(foreign, 4712, 4712);
  assert.equal(exportTo(join(foreign, 'store'), 4712).status, 0);
  writeFileSync(join(foreign, 'store/overlay-images/images.json'), '');
  chownSync(join(foreign, 'store/overlay-images/images.json'), 0, 0);
  chownSync(join(foreign, 'store/overlay-images'), 0, 0);
  assertComplains(join(foreign, 'store'), /cannot be written \(.*EACCES/, /hint: run it as root/, 4712);
});

test('a store is not in another one, not in the repository, and not around it', () => {
  assertComplains(join(store, 'sub'), /is in another store, /, /hint: name a directory beside it/);
  assertComplains(join(store, 'overlay/sub/deep'), /is in another store, /, /hint: name a directory beside it/);
  assertComplains(join(repository, 'store'), /is in the repository /, /hint: name a directory beside it/);
  assertComplains(repository, /is in the repository /, /hint: name a directory beside it/);
  for (const path of [join(store, 'sub'), join(repository, 'store')]) assert.equal(existsSync(path), false);
  const around = at('around');
  assert.equal(exportTo(around).status, 0);
  cpSync(repository, join(around, 'repo'), { recursive: true, verbatimSymlinks: true });
  const { status, stderr } = runAs(0, [CFSCTL, 'podman', 'export-store', '--repo', join(around, 'repo'), around]);
  assert.equal(status, 1);
  assert.match(stderr, /has the repository .* in it/);
});

test('exported to another place: it is said that the first one is left as it is; from then on only the new one follows', () => {
  const second = at('second');
  assert.equal(exportStore().status, 0);
  const { status, stderr } = exportTo(second);
  assert.equal(status, 0);
  assert.ok(stderr.includes(`cfsctl: ${store} is not kept up to date any more: from now on ${second} is\n`), stderr);
  assert.doesNotMatch(exportTo(second).stderr, /kept up to date/);
  run(CFSCTL, 'rm', '--repo', repository, 'third');
  const names = (path: string): string => readFileSync(join(path, 'overlay-images/images.json'), 'utf8');
  assert.deepEqual([names(store).includes('third'), names(second).includes('third')], [true, false]);
  const { forgotten } = json('podman', 'export-store', '--repo', repository, store) as { forgotten: string };
  assert.equal(forgotten, second);
  rmSync(store, { recursive: true });
  assert.equal((json('podman', 'export-store', '--repo', repository, second) as { forgotten: null }).forgotten, null);
});
