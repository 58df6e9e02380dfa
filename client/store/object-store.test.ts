import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type VerityAlgorithm, type VerityDigest, objectPath, verityDigestFromBytes } from '../../core/image/digest.js';
import { createVerityHasher } from '../../core/image/verity-hash.js';
import { RANGE } from './file-hasher.js';
import { type ObjectStore, openObjectStore } from './object-store.js';

const scratch = mkdtempSync(join(tmpdir(), 'cfsctl-store-'));
after(() => rmSync(scratch, { recursive: true }));
let count = 0;
const newPath = (): string => join(scratch, `${++count}`);

function digestOf(bytes: Uint8Array, algorithm: VerityAlgorithm = 'sha256'): VerityDigest {
  const hasher = createVerityHasher(algorithm);
  hasher.update(bytes);
  return hasher.digest();
}

/** Paths of all files below a directory, sorted. */
function listFiles(path: string): string[] {
  const entries = readdirSync(path, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1))
    .sort();
}

function addFile(store: ObjectStore, bytes: Uint8Array): VerityDigest {
  const path = newPath();
  writeFileSync(path, bytes);
  const raw = openSync(path, 'r');
  const digest = store.addFile({ file: { raw }, size: bytes.length });
  closeSync(raw);
  return verityDigestFromBytes(store.algorithm, digest!);
}

for (const algorithm of ['sha256', 'sha512'] as const) {
  test(`${algorithm}: bytes and files become objects at the path of their digest, mode 0644 whatever the umask`, () => {
    const path = newPath();
    const before = process.umask(0o077);
    using store = openObjectStore(path, { create: true, algorithm });
    const contents = [randomBytes(1), randomBytes(5000), randomBytes(RANGE + 1), Buffer.alloc(RANGE * 2)];
    const digests = contents.map((bytes, index) => (index % 2 === 0 ? addFile(store, bytes) : store.addBytes(bytes)));
    store.sync();
    process.umask(before);
    assert.deepEqual(
      digests,
      contents.map((bytes) => digestOf(bytes, algorithm)),
    );
    assert.deepEqual(listFiles(path), digests.map(objectPath).sort());
    for (const [index, digest] of digests.entries()) {
      assert.ok(readFileSync(join(path, objectPath(digest))).equals(contents[index]!));
      assert.equal(statSync(join(path, objectPath(digest))).mode & 0o7777, 0o644);
    }
    assert.deepEqual(store.written, { objects: 4, bytes: contents.reduce((sum, { length }) => sum + length, 0) });
  });
}

test('no object has its name before sync, but for those of a full batch', () => {
  const path = newPath();
  using store = openObjectStore(path, { create: true });
  store.addBytes(randomBytes(100));
  assert.deepEqual(listFiles(path), []);
  for (let i = 1; i < 128; i++) store.addBytes(randomBytes(100));
  assert.equal(listFiles(path).length, 128);
});

test('what is there already is not written again, whether it has its name or waits for it', () => {
  const path = newPath();
  const bytes = randomBytes(1000);
  const object = join(path, objectPath(digestOf(bytes)));
  using first = openObjectStore(path, { create: true });
  first.addBytes(bytes);
  addFile(first, bytes);
  first.sync();
  assert.equal(first.written.objects, 1);
  const { ino, ctimeNs } = statSync(object, { bigint: true });
  using second = openObjectStore(path);
  addFile(second, bytes);
  second.addBytes(bytes);
  second.sync();
  assert.equal(second.written.objects, 0);
  const now = statSync(object, { bigint: true });
  assert.deepEqual([now.ino, now.ctimeNs], [ino, ctimeNs]);
});

test('two stores in one directory add the same object at the same time: one of them wrote it', () => {
  const path = newPath();
  const bytes = randomBytes(1000);
  using first = openObjectStore(path, { create: true });
  using second = openObjectStore(path);
  first.addBytes(bytes);
  second.addBytes(bytes);
  first.sync();
  second.sync();
  assert.equal(first.written.objects + second.written.objects, 1);
  assert.ok(readFileSync(join(path, objectPath(digestOf(bytes)))).equals(bytes));
});

const impostors: Readonly<Record<string, (path: string) => void>> = {
  'a file cut short': (path) => writeFileSync(path, 'x'),
  'an empty file': (path) => writeFileSync(path, ''),
  'a symlink to the right bytes': (path) => symlinkSync('/proc/self/exe', path),
};
for (const [what, make] of Object.entries(impostors)) {
  test(`in the place of an object, and replaced by it: ${what}`, () => {
    const path = newPath();
    const bytes = randomBytes(1000);
    const object = join(path, objectPath(digestOf(bytes)));
    mkdirSync(join(object, '..'), { recursive: true });
    make(object);
    {
      using store = openObjectStore(path);
      store.addBytes(bytes);
      store.sync();
    }
    assert.ok(readFileSync(object).equals(bytes));
    assert.deepEqual(listFiles(path), [objectPath(digestOf(bytes))]);
    assert.equal(
      readdirSync(path).find((name) => name.startsWith('.')),
      undefined,
    );
  });
}

test('a file that is shorter than said becomes no object', () => {
  const path = newPath();
  using store = openObjectStore(path, { create: true });
  for (const size of [1000, RANGE + 1000]) {
    const source = newPath();
    writeFileSync(source, Buffer.alloc(size));
    const raw = openSync(source, 'r');
    assert.equal(store.addFile({ file: { raw }, size: size + 1 }), undefined);
    closeSync(raw);
  }
  store.sync();
  assert.deepEqual(listFiles(path), []);
});

test('a store that cannot be opened or made', () => {
  const file = newPath();
  writeFileSync(file, '');
  const refused = (code: string) => ({
    name: 'RequestError',
    code: 'BadRequest',
    message: new RegExp(`object store .* ${code}`),
  });
  assert.throws(() => openObjectStore(newPath()), refused('cannot be opened \\(ENOENT\\)'));
  assert.throws(() => openObjectStore(file), refused('cannot be opened \\(ENOTDIR\\)'));
  assert.throws(() => openObjectStore(join(file, 'x'), { create: true }), refused('cannot be opened \\(ENOTDIR\\)'));
});

test('a link in the place of a directory of objects leads nowhere: nothing is written through it', () => {
  for (const bytes of [randomBytes(100), randomBytes(RANGE + 1)]) {
    const path = newPath();
    const elsewhere = newPath();
    mkdirSync(path);
    mkdirSync(elsewhere);
    symlinkSync(elsewhere, join(path, objectPath(digestOf(bytes)).slice(0, 2)));
    using store = openObjectStore(path, { create: false, algorithm: 'sha256' });
    assert.throws(() => {
      addFile(store, bytes);
      store.sync();
    }, /ELOOP|ENOTDIR/);
    assert.deepEqual(listFiles(elsewhere), []);
  }
});

test('directories of objects are as readable as the objects, whatever the umask', () => {
  const path = newPath();
  const before = process.umask(0o077);
  using store = openObjectStore(path, { create: true, algorithm: 'sha256' });
  const digest = addFile(store, randomBytes(100));
  store.sync();
  process.umask(before);
  assert.equal(statSync(join(path, objectPath(digest), '..')).mode & 0o777, 0o755);
});
