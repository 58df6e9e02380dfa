import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { parseVerityDigest } from '../../core/image/digest.js';
import { RequestError } from '../../core/wire/errors.js';
import { digestOfRef, walkRefs } from './entries.js';
import { linkImage, removeAbandonedLinks, removeRef, setRef } from './links.js';
import { NEW_META } from './meta.js';
import { type OpenOptions, type Repository, openRepository } from './repository.js';

const directory = mkdtempSync(join(tmpdir(), 'cfsctl-repository-'));
after(() => rmSync(directory, { recursive: true }));
const fresh = (): string => mkdtempSync(join(directory, 'r-'));
const a = parseVerityDigest(`sha256:${'aa'.repeat(32)}`);
const b = parseVerityDigest(`sha256:${'bb'.repeat(32)}`);

function open(path: string, how: Partial<OpenOptions> = {}): Repository {
  return openRepository({ path, lock: 'shared', purpose: 'create', timeoutMs: 0, ...how });
}

const refusal = (code: string, message: RegExp) => (error: unknown) =>
  error instanceof RequestError && error.code === code && message.test(error.message);

test('an empty directory that was there keeps its mode: what it will hold may not be for everybody', () => {
  const path = fresh();
  chmodSync(path, 0o700);
  open(path)[Symbol.dispose]();
  assert.equal(statSync(path).mode & 0o7777, 0o700);
});

test('a new repository: directories, meta.json and modes are right, whatever the umask', () => {
  const path = join(fresh(), 'above', 'repository');
  const before = process.umask(0o077);
  open(path)[Symbol.dispose]();
  process.umask(before);
  assert.deepEqual(readdirSync(path).sort(), ['images', 'meta.json', 'objects']);
  for (const name of ['.', 'images', 'images/refs', 'objects']) assert.equal(statSync(join(path, name)).mode & 0o7777, 0o755);
  assert.equal(statSync(join(path, 'meta.json')).mode & 0o7777, 0o644);
  assert.equal(readFileSync(join(path, 'meta.json'), 'utf8'), NEW_META);
});

test('one that was begun is completed, and its meta.json stays', () => {
  const path = fresh();
  const meta = NEW_META.replace('sha256', 'sha512');
  writeFileSync(join(path, 'meta.json'), meta);
  using repository = open(path);
  assert.equal(repository.algorithm, 'sha512');
  assert.equal(readFileSync(join(path, 'meta.json'), 'utf8'), meta);
  assert.ok(existsSync(join(path, 'images/refs')));
});

test('without meta.json the names of the objects tell the algorithm, and none is written', () => {
  const path = fresh();
  mkdirSync(join(path, 'objects/ab'), { recursive: true });
  writeFileSync(join(path, 'objects/ab', 'c'.repeat(126)), '');
  using repository = open(path);
  assert.equal(repository.algorithm, 'sha512');
  assert.equal(existsSync(join(path, 'meta.json')), false);
});

test('a directory with other things in it does not become a repository', () => {
  const path = fresh();
  writeFileSync(join(path, 'letter'), '');
  assert.throws(() => open(path), refusal('BadRequest', /neither a repository nor empty/));
  assert.deepEqual(readdirSync(path), ['letter']);
});

test('the root of a file system does: lost+found', () => {
  const path = fresh();
  mkdirSync(join(path, 'lost+found'));
  using _ = open(path);
  assert.ok(existsSync(join(path, 'meta.json')));
});

const broken: Readonly<Record<string, [make: (path: string) => void, how: Partial<OpenOptions>, code: string, message: RegExp]>> =
  {
    'it is missing': [(path) => rmSync(path, { recursive: true }), { purpose: 'read' }, 'Failed', /ENOENT/],
    'it is a file': [
      (path) => {
        rmSync(path, { recursive: true });
        writeFileSync(path, '');
      },
      { purpose: 'write' },
      'Failed',
      /ENOTDIR/,
    ],
    'it has neither meta.json nor objects': [() => undefined, { purpose: 'write' }, 'BadRequest', /is not a repository/],
    'its meta.json is of another version': [
      (path) => writeFileSync(join(path, 'meta.json'), '{"version":2}'),
      { purpose: 'read' },
      'BadRequest',
      /version 1/,
    ],
    'its meta.json is a symlink': [
      (path) => symlinkSync('/etc/passwd', join(path, 'meta.json')),
      { purpose: 'read' },
      'Failed',
      /ELOOP/,
    ],
    'writers would have to know more': [
      (path) => writeFileSync(join(path, 'meta.json'), NEW_META.replace('v1_erofs', 'v9')),
      { purpose: 'write' },
      'NotSupported',
      /writers must know/,
    ],
  };
for (const [what, [make, how, code, message]] of Object.entries(broken)) {
  test(`no repository: ${what}`, () => {
    const path = fresh();
    make(path);
    assert.throws(() => open(path, how), refusal(code, message));
  });
}

test('what writers must know does not keep readers away', () => {
  const path = fresh();
  writeFileSync(join(path, 'meta.json'), NEW_META.replace('v1_erofs', 'v9'));
  open(path, { purpose: 'read' })[Symbol.dispose]();
});

const notRoot = process.getuid?.() === 0 ? false : 'SKIPPED: only root writes where it must not';
test('root writes only into its own repositories that nobody else may change', { skip: notRoot }, () => {
  const path = fresh();
  open(path)[Symbol.dispose]();
  chmodSync(path, 0o775);
  assert.throws(() => open(path), refusal('BadRequest', /writable by others; root writes only/));
  chmodSync(path, 0o755);
  spawnSync('chown', ['4712', path]);
  assert.throws(() => open(path, { purpose: 'write' }), refusal('BadRequest', /belongs to uid 4712/));
  open(path, { purpose: 'read' })[Symbol.dispose]();
});

test('locks: many share, one excludes, who waits too long is told so', () => {
  const path = fresh();
  {
    using _first = open(path);
    using _second = open(path, { purpose: 'read' });
    assert.throws(
      () => open(path, { lock: 'exclusive', timeoutMs: 60 }),
      refusal('Timeout', /others were at work .* for 0\.06 s/),
    );
  }
  using _only = open(path, { lock: 'exclusive' });
  assert.throws(() => open(path), refusal('Timeout', /others were at work/));
});

test('the lock is the one that other tools take: flock on the directory', () => {
  const path = fresh();
  using _ = open(path, { lock: 'exclusive' });
  assert.equal(spawnSync('flock', ['--nonblock', '--shared', path, 'true']).status, 1);
});

test('names and images are links, as composefs-rs makes them; a name moves', () => {
  const path = fresh();
  using repository = open(path);
  linkImage(repository.root, a);
  linkImage(repository.root, a);
  linkImage(repository.root, b);
  setRef(repository.root, 'base', a);
  setRef(repository.root, 'team/x/base', a);
  setRef(repository.root, 'team/x/base', b);
  assert.equal(readlinkSync(join(path, 'images', 'aa'.repeat(32))), `../objects/aa/${'aa'.repeat(31)}`);
  assert.equal(readlinkSync(join(path, 'images/refs/base')), `../${'aa'.repeat(32)}`);
  assert.equal(readlinkSync(join(path, 'images/refs/team/x/base')), `../../../${'bb'.repeat(32)}`);
  const { refs, directories } = walkRefs(repository.root);
  assert.deepEqual(
    refs.map((ref) => [ref.path, digestOfRef(ref)]),
    [
      ['base', a],
      ['team/x/base', b],
    ],
  );
  assert.deepEqual(directories, ['team', 'team/x']);
  assert.deepEqual(
    [removeRef(repository.root, 'base'), removeRef(repository.root, 'base'), removeRef(repository.root, 'team')],
    [true, false, false],
  );
  assert.deepEqual(readdirSync(path).sort(), ['images', 'meta.json', 'objects']);
});

test('of names that are parts of each other the first one stays', () => {
  using repository = open(fresh());
  setRef(repository.root, 'a', a);
  assert.throws(() => setRef(repository.root, 'a/b', a), refusal('BadRequest', /a\/b goes against another/));
  assert.throws(() => setRef(repository.root, 'a/b/c', a), refusal('BadRequest', /goes against another/));
  setRef(repository.root, 'd/e', a);
  assert.throws(() => setRef(repository.root, 'd', a), refusal('BadRequest', /d goes against another/));
  assert.deepEqual(
    walkRefs(repository.root).refs.map(({ path }) => path),
    ['a', 'd/e'],
  );
});

test('a link in place of a directory of names leads nowhere', () => {
  const path = fresh();
  const outside = fresh();
  using repository = open(path);
  symlinkSync(outside, join(path, 'images/refs/out'));
  assert.throws(() => setRef(repository.root, 'out/x/y', a), refusal('BadRequest', /goes against another/));
  assert.deepEqual(readdirSync(outside), []);
  assert.equal(removeRef(repository.root, 'out/x'), false);
});

test('links that a killed run left are removed', () => {
  const path = fresh();
  using repository = open(path);
  symlinkSync('x', join(path, '.link-0123456789abcdef'));
  removeAbandonedLinks(repository.root);
  assert.deepEqual(readdirSync(path).sort(), ['images', 'meta.json', 'objects']);
});
