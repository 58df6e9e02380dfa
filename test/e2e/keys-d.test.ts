// keys.d: what is read, what takes the place of what, and what stops the load.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';

import { run } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';
import { makeSigner } from '../support/signing.js';
import { readKeysFrom } from '../../policy/files/read-keys.js';
import { PolicyError } from '../../policy/problem.js';

const scratch = makeScratch();
after(() => scratch.remove());
const [a, b] = ['a', 'b'].map((name) => makeSigner(scratch.path, name, 'P-256'));
const openssl = run('openssl', 'x509', '-in', b!.cert, '-noout', '-fingerprint', '-sha256');

let etc: string;
let usr: string;
let count = 0;
beforeEach(() => {
  const root = join(scratch.path, String((count += 1)));
  [etc, usr] = [join(root, 'etc'), join(root, 'usr')];
  for (const directory of [etc, usr]) mkdirSync(directory, { recursive: true });
});

const put = (directory: string, name: string, content: string | Buffer): void => writeFileSync(join(directory, name), content);
const read = () => readKeysFrom([usr, join(etc, 'none'), etc]);
const subjects = (): string[] => read().certificates.map(({ subject }) => subject.slice(0, 'CN=a'.length));

test('certificates of all directories are read in the order of their names; other files are not', () => {
  put(etc, 'z.crt', readFileSync(a!.cert));
  put(usr, 'y.crt', readFileSync(b!.cert));
  for (const name of ['README', 'x.pem', 'x.crt.dpkg-old']) put(etc, name, 'text');
  assert.deepEqual(subjects(), ['CN=b', 'CN=a']);
});

test('no directory, and no file: nothing is trusted', () => {
  const { certificates, revoked } = readKeysFrom([join(etc, 'none')]);
  assert.deepEqual([certificates.length, revoked.size], [0, 0]);
});

test('a name in a later directory takes the place of the same name in an earlier one', () => {
  put(usr, 'vendor.crt', readFileSync(b!.cert));
  put(etc, 'vendor.crt', readFileSync(a!.cert));
  assert.deepEqual(subjects(), ['CN=a']);
});

test('a link to /dev/null takes a name away, and lists under other names stay', () => {
  for (const name of ['vendor.crt', 'other.crt']) put(usr, name, readFileSync(b!.cert));
  symlinkSync('/dev/null', join(etc, 'vendor.crt'));
  assert.deepEqual(subjects(), ['CN=b']);
});

test('a broken certificate that is masked is not read', () => {
  put(usr, 'vendor.crt', 'broken');
  symlinkSync('/dev/null', join(etc, 'vendor.crt'));
  assert.deepEqual(subjects(), []);
});

test('fingerprints of all lists are revoked: as openssl prints them, in plain digits, with comments', () => {
  const plain = a!.certificate.fingerprint;
  put(usr, 'vendor.revoked', `# lost in the train\n\n ${openssl.split('=')[1]!.trim()} # the second\r\n`);
  put(etc, 'own.revoked', plain.toUpperCase());
  assert.deepEqual([...read().revoked].sort(), [plain, b!.certificate.fingerprint].sort());
});

const BROKEN: readonly (readonly [what: string, name: string, content: string, line: number, message: RegExp])[] = [
  ['a certificate that is none', 'a.crt', 'text', 1, /not one X.509 certificate, PEM or DER; put one/],
  ['a list with a short fingerprint', 'a.revoked', '#\nabcd\n', 2, /not a SHA-256 fingerprint; write the one/],
  ['a list of what openssl prints in whole', 'a.revoked', openssl, 1, /not a SHA-256 fingerprint/],
  ['half a line', 'a.revoked', `${'ab'.repeat(32)}\n${'ab'.repeat(31)}`, 2, /not a SHA-256 fingerprint/],
];
describe('nothing is loaded', () => {
  for (const [what, name, content, line, message] of BROKEN) {
    test(what, () => {
      put(usr, 'good.crt', readFileSync(a!.cert));
      put(etc, name, content);
      assert.throws(
        () => read(),
        (error: unknown) =>
          error instanceof PolicyError &&
          (assert.match(error.message, message),
          assert.ok(error.message.startsWith(`${join(etc, name)}:${line}: `), error.message),
          true),
      );
    });
  }
  test('a link to anything but /dev/null', () => {
    symlinkSync(a!.cert, join(etc, 'a.crt'));
    assert.throws(() => read(), /a\.crt:1: is a symbolic link/);
  });
  test('a directory', () => {
    mkdirSync(join(etc, 'a.crt'));
    assert.throws(() => read(), /is not a regular file/);
  });
  for (const path of ['', 'good.crt']) {
    test(`others than root may write ${path || 'the directory'}`, () => {
      put(etc, 'good.crt', readFileSync(a!.cert));
      chmodSync(join(etc, path), 0o777);
      assert.throws(() => read(), /writable by others than root; chown root and chmod go-w it/);
    });
  }
});
