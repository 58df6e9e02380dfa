import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { RequestError } from '../../core/wire/errors.js';
import { type Volume, parseVolumeOptions } from './options.js';
import { findVolume, listVolumes, removeVolume, writeVolume } from './records.js';

const digest = `sha256:${'ab'.repeat(32)}`;

const taken: [options: Record<string, string>, volume: Volume][] = [
  [{ image: 'base' }, { image: 'base' }],
  [{ image: 'team/base' }, { image: 'team/base' }],
  [{ image: digest }, { image: digest }],
  [
    { image: 'base', digest },
    { image: 'base', digest },
  ],
  [
    { image: 'base', nosuid: '', noexec: 'true' },
    { image: 'base', nosuid: true, noexec: true },
  ],
  [{ image: 'base', nosuid: 'false' }, { image: 'base' }],
];
for (const [options, volume] of taken) {
  test(`taken: ${JSON.stringify(options).slice(0, 50)}`, () => assert.deepEqual(parseVolumeOptions(options), volume));
}

const refused: [options: Record<string, string>, says: RegExp][] = [
  [{}, /no image/],
  [{ digest }, /no image/],
  [{ image: '' }, /1 to 255 bytes/],
  [{ image: '/etc/passwd' }, /a name is parts/],
  [{ image: '../base' }, /a name is parts/],
  [{ image: 'base\n' }, /a name is parts/],
  [{ image: 'sha256:ab' }, /64 hex digits/],
  [{ image: 'localhost:5000/base' }, /unknown/],
  [{ image: 'base', digest: '' }, /digest: the digest is empty/],
  [{ image: 'base', digest: digest.toUpperCase() }, /lower case/],
  [{ image: 'base', nosuid: 'yes' }, /neither true nor false/],
  [{ image: 'base', Image: 'base' }, /option Image is unknown/],
  [{ image: 'base', o: 'upperdir=/x' }, /option o is unknown/],
  [{ image: 'base', toString: '' }, /option toString is unknown/],
];
for (const [options, says] of refused) {
  test(`refused: ${JSON.stringify(options).slice(0, 50)}`, () => {
    assert.throws(
      () => parseVolumeOptions(options),
      (error) => error instanceof RequestError && error.code === 'BadRequest' && says.test(error.message),
    );
  });
}

const directory = mkdtempSync(join(tmpdir(), 'cfsctl-volumes-'));
after(() => rmSync(directory, { recursive: true }));

test('volumes are found again, listed in order, and gone when removed', () => {
  const place = join(directory, 'new');
  assert.deepEqual([listVolumes(place), findVolume(place, 'b')], [[], undefined]);
  const volumes = { b: { image: 'base', nosuid: true }, a: { image: digest, digest } } as const;
  for (const [name, volume] of Object.entries(volumes)) writeVolume(place, name, volume);
  assert.deepEqual(listVolumes(place), ['a', 'b']);
  for (const [name, volume] of Object.entries(volumes)) assert.deepEqual(findVolume(place, name), volume);
  removeVolume(place, 'a');
  assert.deepEqual(readdirSync(place), ['b.json']);
});

const broken = [
  '',
  '{',
  '[]',
  '{"version":2,"image":"base"}',
  '{"version":1}',
  '{"version":1,"image":"../x"}',
  '{"version":1,"image":"base","extra":1}',
];
for (const text of broken) {
  test(`a file of a volume that is broken is told of: ${text}`, () => {
    writeFileSync(join(directory, 'v.json'), text);
    assert.throws(() => findVolume(directory, 'v'), /the file of the volume is broken: .*v\.json/);
  });
}
