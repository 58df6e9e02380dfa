import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, renameSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type VerityDigest, digestHex } from '../../core/image/digest.js';
import { inspectRepository } from './fsck.js';
import type { Trouble } from './problem.js';
import { content, digestOf, freshDirectory, importTree, objectFile, openScratch } from './scratch-repository.test.js';

const file = content('a file');
const object = digestOf(file);

interface Scene {
  readonly path: string;
  readonly image: VerityDigest;
}

async function makeScene(): Promise<Scene> {
  const path = freshDirectory();
  return { path, image: await importTree(path, 'team/base', { file, copy: file, small: 'x' }) };
}

function fsck(path: string) {
  using repository = openScratch(path, { purpose: 'read' });
  return inspectRepository(repository);
}

test('a sound repository: counts, no problems, unfinished files are not looked at', async () => {
  const { path } = await makeScene();
  mkdirSync(join(path, 'objects/.cfsctl-0011223344556677'));
  assert.deepEqual(fsck(path), { objects: 2, images: 1, refs: 1, ociImages: 0, problems: [] });
});

const found: Readonly<
  Record<string, [change: (scene: Scene) => void, problems: [where: RegExp, problem: Trouble, because: RegExp][]]>
> = {
  'an object was changed': [
    ({ path }) => writeFileSync(objectFile(path, object), file.replace('a', 'b')),
    [[/^objects\/..\/[0-9a-f]{62}$/, 'wrong-digest', /^has the digest sha256:/]],
  ],
  'an object was cut short': [
    ({ path }) => truncateSync(objectFile(path, object), 10),
    [
      [/^objects\//, 'wrong-digest', /^has the digest/],
      [/^images\/[0-9a-f]{64}$/, 'missing-object', /with 350 bytes; it has 10$/],
    ],
  ],
  'an object is gone': [
    ({ path }) => unlinkSync(objectFile(path, object)),
    [[/^images\//, 'missing-object', /, which is missing$/]],
  ],
  'an object is a link': [
    ({ path }) => {
      renameSync(objectFile(path, object), join(path, 'elsewhere'));
      symlinkSync(join(path, 'elsewhere'), objectFile(path, object));
    },
    [
      [/^objects\//, 'not-a-file', /not a regular file/],
      [/^images\//, 'missing-object', /missing/],
    ],
  ],
  'an image was changed': [
    ({ path, image }) => writeFileSync(objectFile(path, image), Buffer.alloc(20480)),
    [
      [/^objects\//, 'wrong-digest', /^has the digest/],
      [/^images\//, 'unreadable', /neither an EROFS nor a composefs image/],
    ],
  ],
  'an image is gone': [
    ({ path, image }) => unlinkSync(objectFile(path, image)),
    [[/^images\//, 'missing', /no image behind it/]],
  ],
  'an image leads elsewhere': [
    ({ path, image }) => {
      unlinkSync(join(path, 'images', digestHex(image)));
      symlinkSync(`../objects/../objects/x`, join(path, 'images', digestHex(image)));
    },
    [
      [/^images\/[0-9a-f]{64}$/, 'wrong-link', /does not lead to the object of its name/],
      [/^images\/refs\/team\/base$/, 'dangling', /which is missing/],
    ],
  ],
  'an object has no name of one': [
    ({ path }) => {
      writeFileSync(join(path, 'objects/README'), '');
      copyFileSync(objectFile(path, object), join(path, 'objects', object.slice(7, 9), 'x\u001B'));
    },
    [
      [/^objects\/..\/x\\x1b$/, 'unknown-entry', /name of an object/],
      [/^objects\/README$/, 'unknown-entry', /name of an object/],
    ],
  ],
  'an image has no name of one': [
    ({ path }) => symlinkSync('x', join(path, 'images/latest')),
    [[/^images\/latest$/, 'unknown-entry', /name of an image/]],
  ],
  'a name dangles': [
    ({ path, image }) => unlinkSync(join(path, 'images', digestHex(image))),
    [[/^images\/refs\/team\/base$/, 'dangling', /leads to images\/[0-9a-f]{64}, which is missing/]],
  ],
  'a name leads around': [
    ({ path, image }) => symlinkSync(`../../images/${digestHex(image)}`, join(path, 'images/refs/round')),
    [[/^images\/refs\/round$/, 'wrong-link', /leads to \.\.\/\.\.\/images\/[0-9a-f]{64}, not to one image/]],
  ],
  'a name is a file': [
    ({ path }) => writeFileSync(join(path, 'images/refs/file'), ''),
    [[/^images\/refs\/file$/, 'not-a-file', /symbolic link/]],
  ],
};
for (const [what, [change, problems]] of Object.entries(found)) {
  test(`found: ${what}`, async () => {
    const scene = await makeScene();
    change(scene);
    const actual = fsck(scene.path).problems;
    assert.equal(actual.length, problems.length, JSON.stringify(actual));
    for (const [index, [where, problem, because]] of problems.entries()) {
      assert.match(actual[index]!.where, where);
      assert.equal(actual[index]!.problem, problem);
      assert.match(actual[index]!.because, because);
    }
  });
}
