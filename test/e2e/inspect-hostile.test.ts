// The commands that look into image files, given what is no image, or one of bad will.
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { FormatError } from '../../core/image/format-error.js';
import { readImage } from '../../core/image/reader.js';
import { mutateImage } from '../fuzz/mutate.js';
import { seededRandom } from '../fuzz/random.js';
import { cfsctl } from '../support/cfsctl.js';
import { makeErofs } from '../support/images.js';
import { run, SHARED, withoutSample } from '../support/machine.js';

const skip = withoutSample();
const scratch = mkdtempSync(join(tmpdir(), 'cfsctl-inspect-'));
const sample = join(SHARED, 'sample/sample.cfs');
const plain = join(scratch, 'plain.erofs');
const ONE_MESSAGE = /^cfsctl: [^\n]+\n( {2}hint: [^\n]+\n)?$/;

before(() => {
  chmodSync(scratch, 0o755);
  makeErofs(plain, { 'hello.txt': 'hello\n' });
});
after(() => rmSync(scratch, { recursive: true, force: true }));

function file(name: string, bytes: Uint8Array | string): string {
  const path = join(scratch, name);
  writeFileSync(path, bytes);
  return path;
}

const READERS: readonly (readonly string[])[] = [['info'], ['ls', '-R'], ['dump'], ['objects'], ['verify']];
const notImages: Readonly<Record<string, () => string>> = {
  'a file of another kind': () => '/etc/passwd',
  'an empty file': () => file('empty', ''),
  'a device': () => '/dev/zero',
  'a directory': () => '/',
  'a file that is not there': () => join(scratch, 'nope'),
  'an image cut short': () => file('cut.cfs', readFileSync(plain).subarray(0, 1500)),
  'a name that would write to the terminal': () => '/nope\u001B]0;x\u0007',
};
for (const [what, make] of Object.entries(notImages)) {
  for (const reader of READERS) {
    test(`${reader.join(' ')} of ${what}: one message, exit 1`, () => {
      const words = [...reader, make(), ...(reader[0] === 'verify' ? ['/'] : [])];
      const { status, stdout, stderr } = cfsctl(...words);
      assert.deepEqual([status, stdout], [1, '']);
      assert.match(stderr, ONE_MESSAGE);
      assert.doesNotMatch(stderr, /\p{Cc}(?<!\n)/u, 'no control characters');
    });
  }
}

test('an image too large to read is refused, not read', { skip }, () => {
  const huge = join(scratch, 'huge.cfs');
  copyFileSync(sample, huge);
  truncateSync(huge, 2 ** 28 + 4096);
  const bytes = readFileSync(sample).subarray(0, 4096);
  bytes.writeUInt32LE(2 ** 16 + 1, 1024 + 36);
  run('dd', `if=${file('head', bytes)}`, `of=${huge}`, 'conv=notrunc', 'status=none');
  const { status, stderr } = cfsctl('dump', huge);
  assert.equal(status, 1);
  assert.match(stderr, /has 268439552 bytes; composefs images of up to 268435456 are read/);
});

/** CFS_MUTATIONS=500 looks longer. */
const MUTATIONS = Number(process.env['CFS_MUTATIONS'] ?? 4);
for (const reader of READERS) {
  test(
    `${reader.join(' ')} of ${MUTATIONS} damaged images: exit 1 and one message exactly when the reader refuses`,
    { skip },
    () => {
      const original = readFileSync(sample);
      const random = seededRandom(reader.join(' ').length);
      let refused = 0;
      for (let round = 0; round < MUTATIONS; round += 1) {
        const bytes = mutateImage(original, random);
        const path = file('damaged.cfs', bytes);
        const { status, stdout, stderr } = cfsctl(...reader, path, ...(reader[0] === 'verify' ? ['/'] : []));
        if (isRefused(bytes)) {
          refused += 1;
          assert.deepEqual([status, stdout], [1, '']);
          assert.match(stderr, ONE_MESSAGE);
        } else {
          assert.equal(stderr, '');
          assert.ok(status === 0 || reader[0] === 'verify', `exit ${status}`);
        }
      }
      assert.ok(refused > 0, 'some damage was seen');
    },
  );
}

function isRefused(bytes: Uint8Array): boolean {
  try {
    readImage(bytes, { hugeFiles: true });
    return false;
  } catch (error) {
    assert.ok(error instanceof FormatError);
    return true;
  }
}
