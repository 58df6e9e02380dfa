import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { layerDirectoryOf, lowerLayersOf } from './overlay-options.js';

for (const [what, args, lowers] of [
  ['as podman writes it', ['-o', 'lowerdir=/s/l/A:/s/l/B,upperdir=/u,workdir=/w,,volatile', '/m'], ['/s/l/A', '/s/l/B']],
  ['with maps', ['-o', 'lowerdir=/a,uidmapping=:0:1:4801,gidmapping=:0:1:4801', '/m'], ['/a']],
  ['an image mount', ['-o', 'lowerdir=/a:/b', '/m'], ['/a', '/b']],
  ['in one word', ['-olowerdir=/a,ro', '/m'], ['/a']],
  ['two -o', ['-o', 'ro', '-o', 'lowerdir=/a', '/m'], ['/a']],
  ['blanks in a name', ['-o', 'lowerdir=/s/l/if not attached - run - x', '/m'], ['/s/l/if not attached - run - x']],
  ['empty layers', ['-o', 'lowerdir=:/a:', '/m'], ['/a']],
  ['none', ['-o', 'ro', '/m'], []],
  ['no options', ['--version'], []],
] as const)
  test(`lower directories: ${what}`, () => assert.deepEqual(lowerLayersOf(args), lowers));

for (const args of [
  ['-o', 'lowerdir=/a', '-o', 'lowerdir=/b', '/m'],
  ['-o', 'lowerdir=/a\\:b', '/m'],
])
  test(`lower directories refused: ${args.join(' ')}`, () => {
    assert.throws(() => lowerLayersOf(args), { code: 'BadRequest' });
  });

const scratch = mkdtempSync(join(tmpdir(), 'cfs-overlay-'));
after(() => rmSync(scratch, { recursive: true }));

test('the directory of a layer: by its diff, or by one link to that', () => {
  mkdirSync(join(scratch, 'layer/diff'), { recursive: true });
  mkdirSync(join(scratch, 'l'));
  symlinkSync('../layer/diff', join(scratch, 'l/LINK'));
  symlinkSync('../l/LINK', join(scratch, 'l/TWICE'));
  const layer = join(scratch, 'layer');
  assert.equal(layerDirectoryOf(join(scratch, 'layer/diff')), layer);
  assert.equal(layerDirectoryOf(join(scratch, 'l/LINK')), layer);
  assert.equal(layerDirectoryOf(join(scratch, 'l/TWICE')), undefined);
  assert.equal(layerDirectoryOf(scratch), undefined);
  assert.throws(() => layerDirectoryOf(join(scratch, 'l/MISSING')), { code: 'BadRequest' });
});
