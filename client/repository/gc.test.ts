import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type VerityDigest, digestHex, parseVerityDigest } from '../../core/image/digest.js';
import { RequestError } from '../../core/wire/errors.js';
import { inspectRepository } from './fsck.js';
import { type Collected, type GcOptions, collectGarbage } from './gc.js';
import { removeRef } from './links.js';
import type { OverlayMount } from './live-mounts.js';
import type { ServiceMount } from './mounted.js';
import { readKeptImage } from './needs.js';
import { content, digestOf, freshDirectory, importTree, objectFile, openScratch, snapshot } from './scratch-repository.test.js';

function gc(path: string, options: Partial<GcOptions> = {}): Collected {
  using repository = openScratch(path, { lock: 'exclusive', purpose: 'write' });
  const nothing = { listServiceMounts: () => [], listKernelMounts: () => [], keep: [], force: false, dryRun: false };
  return collectGarbage(repository, { ...nothing, ...options });
}

const told = (digest: VerityDigest, type: ServiceMount['type'] = 'composefs'): ServiceMount => ({ digest, type });

function assertSound(path: string): void {
  using repository = openScratch(path, { purpose: 'read' });
  assert.deepEqual(inspectRepository(repository).problems, []);
}

function remove(path: string, name: string): void {
  using repository = openScratch(path, { purpose: 'write' });
  removeRef(repository.root, name);
}

interface Scene {
  readonly path: string;
  readonly one: VerityDigest;
  readonly two: VerityDigest;
}

const common = content('common');
const only = content('only one');

/** Images "one" and "two", which share a file. Only "two" has a name any more. */
async function makeScene(): Promise<Scene> {
  const path = freshDirectory();
  const one = await importTree(path, 'one', { common, only });
  const two = await importTree(path, 'dir/two', { common, other: content('other') });
  remove(path, 'one');
  return { path, one, two };
}

const has = (path: string, digest: VerityDigest): boolean => existsSync(objectFile(path, digest));
const isImage = (path: string, digest: VerityDigest): boolean => readdirSync(join(path, 'images')).includes(digestHex(digest));

test('an image without a name goes, with what nothing else needs; the others stay whole', async () => {
  const { path, one, two } = await makeScene();
  const collected = gc(path);
  assert.deepEqual([collected.images, collected.objects, collected.mounted], [[one], 2, []]);
  assert.ok(collected.bytes > only.length);
  assert.deepEqual([isImage(path, one), has(path, one), has(path, digestOf(only))], [false, false, false]);
  assert.deepEqual([isImage(path, two), has(path, two), has(path, digestOf(common))], [true, true, true]);
  assertSound(path);
  assert.deepEqual(gc(path), { images: [], ociImages: [], objects: 0, bytes: 0, mounted: [] });
});

test('a dry run says the same and changes nothing', async () => {
  const { path } = await makeScene();
  const before = snapshot(path);
  const would = gc(path, { dryRun: true });
  assert.deepEqual(snapshot(path), before);
  assert.deepEqual(gc(path), would);
});

test('a mounted image stays, as the service says or the kernel', async () => {
  const { path, one } = await makeScene();
  const seen: OverlayMount = { source: `composefs:${one}`, digest: one, stores: ['/'] };
  const before = snapshot(path);
  for (const options of [{ listServiceMounts: () => [told(one), told(one)] }, { listKernelMounts: () => [seen] }]) {
    const collected = gc(path, options);
    assert.deepEqual([collected.images, collected.objects, collected.mounted], [[], 0, [one]]);
    assert.deepEqual(snapshot(path), before);
  }
});

test('an image that is mounted while it is being forgotten comes back, and loses nothing', async () => {
  const { path, one } = await makeScene();
  const before = snapshot(path);
  let asked = 0;
  const collected = gc(path, {
    listServiceMounts: () => {
      asked += 1;
      if (asked === 1) return [];
      assert.equal(isImage(path, one), false, 'it cannot be found any more');
      return [told(one)];
    },
  });
  assert.deepEqual([asked, collected.images, collected.objects, collected.mounted], [2, [], 0, [one]]);
  assert.deepEqual(snapshot(path), before);
});

test('a mounted image that is in no list any more keeps its objects', async () => {
  const { path, one } = await makeScene();
  unlinkSync(join(path, 'images', digestHex(one)));
  gc(path, { listServiceMounts: () => [told(one)] });
  assert.deepEqual([isImage(path, one), has(path, one), has(path, digestOf(only))], [false, true, true]);
});

const stranger = parseVerityDigest(`sha256:${'5e'.repeat(32)}`);
const refused: Readonly<
  Record<string, [options: (scene: Scene) => Partial<GcOptions>, message: RegExp, change?: (scene: Scene) => void]>
> = {
  'the service cannot tell': [
    () => ({
      listServiceMounts: () => {
        throw new RequestError('Timeout', 'the service sleeps');
      },
    }),
    /sleeps/,
  ],
  'the service tells of an image that is not there': [
    () => ({ listServiceMounts: () => [told(stranger)] }),
    /not in the repository.*: sha256:5e5e/,
  ],
  'the kernel shows an image that is not there, over a detached store': [
    () => ({ listKernelMounts: () => [{ source: `composefs:${stranger}`, digest: stranger, stores: ['/'] }] }),
    /not in the repository/,
  ],
  'the kernel shows an image that is not there, over this store': [
    ({ path }) => ({
      listKernelMounts: () => [{ source: `composefs:${stranger}`, digest: stranger, stores: [join(path, 'objects')] }],
    }),
    /not in the repository/,
  ],
  'the kernel shows what another tool mounted over this store': [
    ({ path }) => ({ listKernelMounts: () => [{ source: 'overlay', digest: undefined, stores: [join(path, 'objects')] }] }),
    /not in the repository.*: overlay/,
  ],
  'another tool mounted something over a store that cannot be found': [
    () => ({ listKernelMounts: () => [{ source: 'overlay', digest: undefined, stores: ['../objects', '/nonexistent'] }] }),
    /not in the repository.*: overlay/,
  ],
  'there are streams': [() => ({}), /has streams/, ({ path }) => mkdirSync(join(path, 'streams', 'x'), { recursive: true })],
  'an image with a name is another one': [
    () => ({}),
    /has the digest/,
    ({ path, one, two }) => copyFileSync(objectFile(path, one), objectFile(path, two)),
  ],
  'an image with a name is cut short': [
    () => ({}),
    /at least|neither an EROFS/,
    ({ path, two }) => truncateSync(objectFile(path, two), 100),
  ],
  'a name leads to no image': [
    () => ({}),
    /images\/refs\/odd leads to no image/,
    ({ path }) => symlinkSync('../../x', join(path, 'images/refs/odd')),
  ],
  'a name is a file': [
    () => ({}),
    /images\/refs\/odd leads to no image/,
    ({ path }) => writeFileSync(join(path, 'images/refs/odd'), ''),
  ],
};
for (const [what, [options, message, change]] of Object.entries(refused)) {
  test(`nothing is removed if ${what}`, async () => {
    const scene = await makeScene();
    change?.(scene);
    const before = snapshot(scene.path);
    assert.throws(
      () => gc(scene.path, options(scene)),
      (error) => error instanceof RequestError && message.test(error.message),
    );
    assert.deepEqual(snapshot(scene.path), before);
  });
}

test('a mount over another store does not matter', async () => {
  const { path, one } = await makeScene();
  const mount: OverlayMount = { source: `composefs:${stranger}`, digest: stranger, stores: [freshDirectory()] };
  const foreign: OverlayMount = { source: 'overlay', digest: undefined, stores: [freshDirectory()] };
  assert.deepEqual(gc(path, { listKernelMounts: () => [mount, foreign] }).images, [one]);
});

test('--keep: an image outside keeps its objects, and may be mounted', async () => {
  const { path, one } = await makeScene();
  const outside = join(freshDirectory(), 'one.cfs');
  copyFileSync(objectFile(path, one), outside);
  const kept = readKeptImage(outside);
  const collected = gc(path, { keep: [kept], listServiceMounts: () => [told(kept.digests[1]!), told(kept.digests[0]!)] });
  assert.deepEqual([collected.images, has(path, digestOf(only))], [[], true], 'as it is in the repository, too');
  unlinkSync(join(path, 'images', digestHex(one)));
  const again = gc(path, { keep: [kept], listServiceMounts: () => [told(kept.digests[1]!)] });
  assert.deepEqual(
    [again.objects, has(path, one), has(path, digestOf(only))],
    [1, false, true],
    'the image itself is not needed',
  );
});

test('--force: goes on although an unknown image is mounted', async () => {
  const { path, one } = await makeScene();
  assert.deepEqual(gc(path, { force: true, listServiceMounts: () => [told(stranger)] }).images, [one]);
});

test('what killed runs left goes, and what is no object stays', async () => {
  const { path } = await makeScene();
  const hex = digestHex(stranger);
  symlinkSync('x', join(path, '.link-0011223344556677'));
  for (const parent of ['', 'objects']) {
    mkdirSync(join(path, parent, '.cfsctl-0011223344556677'));
    writeFileSync(join(path, parent, '.cfsctl-0011223344556677/0'), 'x');
  }
  mkdirSync(join(path, 'images/refs/a/b'), { recursive: true });
  mkdirSync(join(path, 'objects/5e', hex.slice(2)), { recursive: true });
  writeFileSync(join(path, 'objects/5e/notes'), 'x');
  writeFileSync(join(path, 'objects/README'), 'x');
  assert.equal(gc(path).objects, 2);
  assert.deepEqual(readdirSync(path).sort(), ['images', 'meta.json', 'objects']);
  assert.deepEqual(readdirSync(join(path, 'images/refs')), ['dir']);
  const objects = readdirSync(join(path, 'objects'));
  assert.deepEqual([objects.includes('README'), objects.some((name) => name.startsWith('.'))], [true, false]);
  assert.deepEqual(readdirSync(join(path, 'objects/5e')).sort(), [hex.slice(2), 'notes'].sort());
});

test('a name in the form of another tool counts; one whose image is gone keeps nothing', async () => {
  const { path, one } = await makeScene();
  symlinkSync(`../../images/${digestHex(one)}`, join(path, 'images/refs/other-form'));
  symlinkSync(`../${digestHex(stranger)}`, join(path, 'images/refs/dangling'));
  assert.deepEqual(gc(path).images, []);
  assert.ok(has(path, one));
});

test('an image that is itself in images/ stays, with its objects', async () => {
  const { path, one } = await makeScene();
  unlinkSync(join(path, 'images', digestHex(one)));
  renameSync(objectFile(path, one), join(path, 'images', digestHex(one)));
  assert.deepEqual(gc(path), { images: [], ociImages: [], objects: 0, bytes: 0, mounted: [] });
});

test('a mounted plain EROFS image that is not there has no objects; one that is there stays', async () => {
  const { path, one } = await makeScene();
  const { images, mounted } = gc(path, { listServiceMounts: () => [told(stranger, 'erofs'), told(one, 'erofs')] });
  assert.deepEqual([images, mounted], [[], [one]]);
});
