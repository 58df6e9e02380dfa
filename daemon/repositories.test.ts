import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { parseVerityDigest } from '../core/image/digest.js';
import { procPath } from '../core/kernel/file.js';
import { closeRepository, findImage, listImages, openRepository, type Repository } from './repositories.js';

const hex = (start: string): string => start.padEnd(64, '0');
const object = (digest: string): string => `objects/${digest.slice(0, 2)}/${digest.slice(2)}`;

let path: string;
let repository: Repository;
before(() => {
  path = mkdtempSync(join(tmpdir(), 'cfsmountd-repository-'));
  const put = (digest: string, text: string): void => {
    mkdirSync(join(path, `objects/${digest.slice(0, 2)}`), { recursive: true });
    writeFileSync(join(path, object(digest)), text);
  };
  mkdirSync(join(path, 'images/refs/os'), { recursive: true });
  put(hex('aa11'), 'one');
  put(hex('bb22'), 'two');
  symlinkSync(`../${object(hex('aa11'))}`, join(path, 'images', hex('aa11')));
  writeFileSync(join(path, 'images', hex('cc33')), 'three');
  symlinkSync(`../${hex('aa11')}`, join(path, 'images/refs/one'));
  symlinkSync(`../../${hex('cc33')}`, join(path, 'images/refs/os/three'));
  // What must not be followed:
  symlinkSync('/etc/passwd', join(path, 'images', hex('dd01')));
  symlinkSync(`../../${object(hex('bb22'))}`, join(path, 'images', hex('dd02')));
  symlinkSync(`../images/${hex('cc33')}`, join(path, 'images', hex('dd03')));
  symlinkSync(hex('cc33'), join(path, 'images', hex('dd04')));
  symlinkSync('/etc/passwd', join(path, 'images/refs/absolute'));
  symlinkSync(`../../images/${hex('cc33')}`, join(path, 'images/refs/around'));
  symlinkSync('one', join(path, 'images/refs/chain'));
  symlinkSync(`../../${hex('aa11')}`, join(path, 'images/refs/too-far'));
  symlinkSync('/etc', join(path, 'images/refs/out'));
  symlinkSync(`../${hex('ee55')}`, join(path, 'images/refs/dangling'));
  mkdirSync(join(path, 'images', hex('ff66')));
  repository = openRepository(path, 'verity');
});
after(() => {
  closeRepository(repository);
  rmSync(path, { recursive: true });
});

function contentOf(image: { digest: string } | { name: string }): string | undefined {
  const reference =
    'digest' in image
      ? ({ kind: 'digest', digest: parseVerityDigest(`sha256:${image.digest}`) } as const)
      : ({ kind: 'name', name: image.name } as const);
  const found = findImage([repository], reference);
  if (!found) return undefined;
  using file = found.file;
  return readFileSync(procPath(file), 'latin1');
}

test('images are found by digest, through the link to the object or as a file', () => {
  assert.equal(contentOf({ digest: hex('aa11') }), 'one');
  assert.equal(contentOf({ digest: hex('cc33') }), 'three');
});

test('images are found by name, also a name with a slash', () => {
  assert.equal(contentOf({ name: 'one' }), 'one');
  assert.equal(contentOf({ name: 'os/three' }), 'three');
});

for (const digest of ['dd01', 'dd02', 'dd03', 'dd04', 'ee55', 'ff66']) {
  test(`not an image: images/${digest}…`, () => assert.equal(contentOf({ digest: hex(digest) }), undefined));
}

for (const name of ['absolute', 'around', 'chain', 'too-far', 'out/passwd', 'dangling', 'os', 'nothing']) {
  test(`not an image name: ${name}`, () => assert.equal(contentOf({ name }), undefined));
}

test('the list names each image once, with the digest its name claims', () => {
  const listed = listImages(repository).map(({ name, claimed }) => `${name}=${claimed.slice(7, 11)}`);
  assert.deepEqual(listed.filter((entry) => /=(aa11|cc33)/.test(entry)).sort(), ['one=aa11', 'os/three=cc33']);
});

test('a repository without objects, or of an unknown algorithm, does not open', () => {
  assert.throws(() => openRepository(join(path, 'images'), 'verity'), /ENOENT/);
  writeFileSync(join(path, 'meta.json'), '{"version":1,"algorithm":"fsverity-sha1-12"}');
  assert.throws(() => openRepository(path, 'verity'), /unknown algorithm/);
  writeFileSync(join(path, 'meta.json'), '{"version":1,"algorithm":"fsverity-sha512-12"}');
  closeRepository(openRepository(path, 'verity'));
  rmSync(join(path, 'meta.json'));
});
