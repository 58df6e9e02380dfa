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

test('a configuration without a time is of 1970', () => {
  const { created: _, ...rest } = CONFIG;
  assert.equal(squash(bytesOf(rest), DIFF_ID, 1).created, '1970-01-01T00:00:00Z');
});

// Each would make podman fail for the image, or for all images of the store.
for (const [what, change] of [
  ['no architecture', { architecture: undefined }],
  ['a time in words', { created: 'yesterday' }],
  ['a month 13', { created: '2025-13-01T00:00:00Z' }],
  ['no time zone', { created: '2025-01-01T00:00:00' }],
  ['ten digits of a second', { created: '2025-01-01T00:00:00.0123456789Z' }],
  ['a bad time in the history', { history: [{ created: '2025-01-01' }] }],
  ['a history that is none', { history: {} }],
  ['a command as text', { config: { Cmd: 'sh' } }],
  ['a number as a label', { config: { Labels: { a: 1 } } }],
  ['a number in the environment', { config: { Env: [1] } }],
  ['a port that is no object', { config: { ExposedPorts: { '80/tcp': 1 } } }],
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
