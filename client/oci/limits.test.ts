// Images that are too much: each limit stops them in time. The limits are low here, so that it does not take long to reach them.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { type LayerMaking, dockerArchive, ociLayout, writeArchive } from '../../test/support/oci-image.js';
import { type TarFields, tarFile } from '../../test/support/tar-file.js';
import { freshDirectory, openScratch, snapshot } from '../repository/scratch-repository.test.js';
import { importOci } from './import-oci.js';
import { OCI_LIMITS, type OciLimits } from './limits.js';
import { chooseImage } from './source/choose-image.js';
import { openSource } from './source/open-source.js';

async function importWith(limits: Partial<OciLimits>, ...layers: readonly (LayerMaking | Buffer)[]): Promise<void> {
  const path = writeArchive(join(freshDirectory(), 'image.tar'), dockerArchive([{ layers }]));
  const all = { ...OCI_LIMITS, ...limits };
  using source = openSource(path, all);
  const image = chooseImage(source, { platform: undefined, image: undefined }, all);
  const where = freshDirectory();
  using repository = openScratch(where);
  try {
    await importOci(repository, source, image, 'x', { skipDevices: false, limits: all });
  } catch (error) {
    assert.ok(!Object.keys(snapshot(where)).some((name) => /images\/[0-9a-f]|oci\//.test(name)), 'no image');
    throw error;
  }
}

const files = (count: number): TarFields[] => Array.from({ length: count }, (_, index) => ({ name: `f${index}` }));

test('entries: of all layers together, and the directories on the way to them', async () => {
  const limits = { entries: 10 };
  await importWith(limits, tarFile(...files(5)), tarFile(...files(5)));
  await assert.rejects(importWith(limits, tarFile(...files(5)), tarFile(...files(6))), /the layers have more than 10 entries/);
  await importWith(limits, tarFile({ name: `${'d/'.repeat(9)}f` }));
  await assert.rejects(importWith(limits, tarFile({ name: `${'d/'.repeat(10)}f` })), /more than 10 entries/);
});

test('names, targets and attributes: what stays in memory', async () => {
  const limits = { textBytes: 3000 };
  const link: TarFields = { name: 'l', type: '2', pax: { linkpath: 'x'.repeat(2999) } };
  await importWith(limits, tarFile(link));
  await assert.rejects(importWith(limits, tarFile(link, { name: 'm' })), /have more than 3000 bytes/);
  const attribute: TarFields = { name: 'a', pax: { 'SCHILY.xattr.user.x': 'x'.repeat(3000) } };
  await assert.rejects(importWith(limits, tarFile(attribute)), /have more than 3000 bytes/);
});

test('unpacked bytes: a bomb of gzip is stopped on its way, by what it says and by what comes', async () => {
  const limits = { unpackedBytes: 1 << 20, ratio: 10 };
  const zeros = Buffer.alloc(64 << 20);
  const bomb = tarFile({ name: 'f', data: zeros });
  await assert.rejects(
    importWith(limits, { tar: bomb, packing: 'gzip' }),
    /unpacked, the layers have more than \d+ bytes; packed they have/,
  );
  // Much behind the end of the archive.
  const trailing = Buffer.concat([tarFile({ name: 'f' }), zeros]);
  await assert.rejects(importWith(limits, { tar: trailing, packing: 'gzip' }), /too much follows|unpacked, the layers have more/);
  await importWith({ ...limits, ratio: 2000 }, { tar: bomb, packing: 'gzip' });
  await importWith(limits, bomb);
});

test('unpacked bytes: a bomb of zstd, too', async () => {
  const limits = { unpackedBytes: 1 << 20, ratio: 10 };
  const bomb = tarFile({ name: 'f', data: Buffer.alloc(64 << 20) });
  await assert.rejects(importWith(limits, { tar: bomb, packing: 'zstd' }), /unpacked, the layers have more than/);
});

test('unpacked bytes: what follows a bomb, holes of a file perhaps, allows it nothing', async () => {
  const limits = { unpackedBytes: 1 << 20, ratio: 10 };
  const tar = tarFile({ name: 'f', data: Buffer.alloc(64 << 20) });
  const blob = Buffer.concat([gzipSync(tar), Buffer.alloc(8 << 20)]);
  await assert.rejects(importWith(limits, { tar, blob }), /unpacked, the layers have more than/);
});

test('layers, and files of an archive', async () => {
  const layer = tarFile({ name: 'f' });
  await importWith({ layers: 3 }, layer, layer, layer);
  await assert.rejects(importWith({ layers: 2 }, layer, layer, layer), /has 3 layers, more than 2/);
  await importWith({ members: 3 }, layer);
  await assert.rejects(importWith({ members: 2 }, layer), /the archive has more than 2 files/);
});

test('a layer that is packed twice is unpacked once', async () => {
  const tar = tarFile({ name: 'f' });
  await assert.rejects(importWith({}, { tar, blob: gzipSync(gzipSync(tar)) }), /the archive ends within an entry/);
});

test('an archive without index.json, and one that is empty', () => {
  const path = writeArchive(
    join(freshDirectory(), 'image.tar'),
    new Map([...ociLayout([])].filter(([name]) => name !== 'index.json')),
  );
  using source = openSource(path, OCI_LIMITS);
  assert.throws(() => chooseImage(source, { platform: undefined, image: undefined }, OCI_LIMITS), /neither an OCI layout nor/);
  writeFileSync(path, '');
  assert.throws(() => openSource(path, OCI_LIMITS), /there is no file in it/);
});
