import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { byteString } from '../../core/image/bytes.js';
import { objectPath } from '../../core/image/digest.js';
import type { NeededObject } from '../../core/image/facts.js';
import { createVerityHasher } from '../../core/image/verity-hash.js';
import { objectsByPath, openStore } from './objects.js';
import { formatFault, verificationAsJson, verifyObjects } from './verify-objects.js';

const directory = mkdtempSync(join(tmpdir(), 'cfsctl-verify-'));
after(() => rmSync(directory, { recursive: true }));

/** Puts content into the store, at the path of its digest. */
function store(content: string, algorithm: 'sha256' | 'sha512' = 'sha256'): NeededObject {
  const hasher = createVerityHasher(algorithm);
  hasher.update(Buffer.from(content));
  const digest = hasher.digest();
  const path = byteString(objectPath(digest));
  mkdirSync(join(directory, path, '..'), { recursive: true });
  writeFileSync(join(directory, path), content);
  return { digest, path, size: BigInt(content.length) };
}

const good = store('good'.repeat(5000));
const wide = store('wide'.repeat(100), 'sha512');
const other = store('other');
mkdirSync(join(directory, 'sub'));
execFileSync('mkfifo', [join(directory, 'fifo')]);
symlinkSync(good.path ?? '', join(directory, 'link'));

const faulty: Readonly<Record<string, [object: NeededObject, fault: string, text: RegExp]>> = {
  'there is none': [{ ...good, path: byteString('aa/bb') }, 'missing', /^aa\/bb: is missing\n$/],
  'its directory is a file': [{ ...good, path: byteString(`${good.path}/x`) }, 'missing', /is missing/],
  'it is a directory': [{ ...good, path: byteString('sub') }, 'not-a-file', /not a regular file/],
  'it is a FIFO': [{ ...good, path: byteString('fifo') }, 'not-a-file', /not a regular file/],
  'it is a symbolic link': [{ ...good, path: byteString('link') }, 'not-a-file', /not a regular file/],
  'its path leads out of the store': [{ ...good, path: byteString('../../etc/passwd') }, 'not-a-file', /^\.\.\/\.\.\/etc/],
  'it is shorter': [{ ...good, size: good.size + 1n }, 'wrong-size', /has 20000 bytes; the image says 20001/],
  'it is another file of the same size': [
    { ...other, path: byteString('sub/x') },
    'wrong-digest',
    /has the digest sha256:[0-9a-f]{64}; the image says sha256:/,
  ],
  'the image has no digest for it': [{ ...good, digest: undefined }, 'no-digest', /does not say which digest/],
  'the image has no path for it': [{ ...good, path: undefined }, 'no-path', /^\(no path\): /],
  'its name would write to the terminal': [{ ...good, path: byteString('\x1b]0;x\x07') }, 'missing', /^\\x1b\]0;x\\x07: /],
};
writeFileSync(join(directory, 'sub/x'), 'otheR');
for (const [what, [object, fault, text]] of Object.entries(faulty)) {
  test(`a fault of an object: ${what}`, () => {
    using fd = openStore(directory);
    const { faults } = verifyObjects([object, good], fd);
    assert.deepEqual(
      faults.map((found) => found.fault),
      [fault],
    );
    assert.match(formatFault(faults[0]!), text);
  });
}

test('no faults: sha256 and sha512 objects, the same object twice', () => {
  using fd = openStore(directory);
  const verification = verifyObjects([good, wide, other, good], fd);
  assert.deepEqual(verification.faults, []);
  assert.deepEqual(verificationAsJson(verification), { ok: true, objects: 4, bytes: 40405n, faults: [] });
});

test('faults are in the order of the paths', () => {
  using fd = openStore(directory);
  const at = (path: string): NeededObject => ({ ...good, path: byteString(path) });
  const { faults } = verifyObjects([at('b'), at('a\xff'), at('a')], fd);
  assert.deepEqual(
    faults.map(({ object }) => object.path),
    ['a', 'a\xff', 'b'],
  );
});

test('objects by path: each path once, in the order of their bytes, none without a path', () => {
  const at = (path: string): NeededObject => ({ ...good, path: byteString(path) });
  const listed = objectsByPath([at('b'), at('\xff'), { ...good, path: undefined }, at('a/z'), at('a'), at('b')]);
  assert.deepEqual(
    listed.map(({ path }) => path),
    ['a', 'a/z', 'b', '\xff'],
  );
});
