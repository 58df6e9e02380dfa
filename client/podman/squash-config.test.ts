import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';

import { squash } from './squash-config.js';

const DIFF_ID = 'ab'.repeat(32);
const CONFIG = {
  architecture: 'amd64',
  os: 'linux',
  created: '2025-06-01T12:00:00.123456789+02:00',
  config: { Env: ['A=b'], Cmd: null, ExposedPorts: { '80/tcp': {} }, Labels: { a: 'b' }, Healthcheck: { Test: ['NONE'] } },
  rootfs: { type: 'layers', diff_ids: ['sha256:1', 'sha256:2'] },
  history: [
    { created: '2025-06-01T12:00:00Z', created_by: 'ADD' },
    { created_by: 'ENV', empty_layer: true },
  ],
  docker_version: '27',
};
const bytesOf = (config: unknown): Buffer => Buffer.from(JSON.stringify(config));

test('one layer, one step of the history that has one, and all else as it was', () => {
  const { id, config, manifest, created } = squash(bytesOf(CONFIG), DIFF_ID, 1024);
  const { rootfs, history, ...rest } = JSON.parse(config.toString()) as typeof CONFIG;
  const { rootfs: _rootfs, history: _history, ...given } = CONFIG;
  assert.deepEqual(rest, given);
  assert.deepEqual(rootfs, { type: 'layers', diff_ids: [`sha256:${DIFF_ID}`] });
  assert.deepEqual(
    history.map(({ empty_layer }) => empty_layer ?? false),
    [true, true, false],
  );
  assert.equal(id, createHash('sha256').update(config).digest('hex'));
  assert.equal(created, CONFIG.created);
  const { layers, config: named } = JSON.parse(manifest.toString()) as { layers: unknown[]; config: { digest: string } };
  assert.equal(named.digest, `sha256:${id}`);
  assert.deepEqual(layers, [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: `sha256:${DIFF_ID}`, size: 1024 }]);
});

for (const created of ['0001-01-01T00:00:00Z', '2024-02-29T23:59:59.5-11:30', '2000-02-29T00:00:00Z', '2025-12-31T00:00:00Z'])
  test(`a time that podman can parse: ${created}`, () => {
    assert.equal(squash(bytesOf({ ...CONFIG, created }), DIFF_ID, 1).created, created);
  });

test('a configuration without a time is of 1970', () => {
  const { created: _, ...rest } = CONFIG;
  assert.equal(squash(bytesOf(rest), DIFF_ID, 1).created, '1970-01-01T00:00:00Z');
});

// Each would make podman fail for the image, or for all images of the store.
for (const [what, change] of [
  ['no architecture', { architecture: undefined }],
  ['a time in words', { created: 'yesterday' }],
  ['a month 13', { created: '2025-13-01T00:00:00Z' }],
  ['a 30th of February', { created: '2025-02-30T00:00:00Z' }],
  ['a 31st of April', { created: '2025-04-31T23:59:59+02:00' }],
  ['a 29th of February in a year without', { created: '1900-02-29T00:00:00Z' }],
  ['the year 0', { created: '0000-01-01T00:00:00+01:00' }],
  ['no time zone', { created: '2025-01-01T00:00:00' }],
  ['ten digits of a second', { created: '2025-01-01T00:00:00.0123456789Z' }],
  ['a bad time in the history', { history: [{ created: '2025-01-01' }] }],
  ['a history that is none', { history: {} }],
  ['a command as text', { config: { Cmd: 'sh' } }],
  ['a number as a label', { config: { Labels: { a: 1 } } }],
  ['a number in the environment', { config: { Env: [1] } }],
  ['a port that is no object', { config: { ExposedPorts: { '80/tcp': 1 } } }],
  ['a number as the version of the system', { 'os.version': 5 }],
  ['a text as the features of the system', { 'os.features': 'a' }],
  ['a number as the variant', { variant: 5 }],
  ['a number as a health check', { config: { Healthcheck: 5 } }],
  ['a fraction of a nanosecond', { config: { Healthcheck: { Interval: 0.5 } } }],
  ['a text as a truth', { config: { ArgsEscaped: 'yes' } }],
  ['a time to stop in words', { config: { StopTimeout: 'soon' } }],
  ['a 30th of February in the history', { history: [{ created: '2025-02-30T00:00:00Z' }] }],
  // Go takes them for the keys they look like.
  ['a key in upper case', { Variant: 5 }],
  ['a key in lower case', { config: { env: 5 } }],
  ['a key in the history twice', { history: [{ created: '2025-06-01T12:00:00Z', CREATED: 'x' }] }],
  ['layers in upper case', { RootFS: { type: 'layers', diff_ids: [] } }],
  ['a long s', { 'o\u017F': 5 }],
  ['the sign for kelvin', { config: { 'Healthchec\u212A': 5 } }],
  ['no rootfs', { rootfs: undefined }],
] as const)
  test(`configuration refused: ${what}`, () => {
    assert.throws(() => squash(bytesOf({ ...CONFIG, ...change }), DIFF_ID, 1), { code: 'BadImage' });
  });

for (const [what, bytes] of [
  ['no JSON', Buffer.from('{')],
  ['no UTF-8', Buffer.from([0x22, 0xff, 0x22])],
  ['a list', Buffer.from('[]')],
  ['null', Buffer.from('null')],
] as const)
  test(`configuration refused: ${what}`, () => {
    assert.throws(() => squash(bytes, DIFF_ID, 1), { code: 'BadImage' });
  });
