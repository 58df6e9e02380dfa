// A second opinion: what GNU tar makes of the layers, one after the other, read as a directory by cfsctl, is the same image, byte for byte.
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';

import { CFSCTL } from '../support/cfsctl.js';
import { requirePrivileges, run } from '../support/machine.js';
import { type Packing, dockerArchive, writeArchive } from '../support/oci-image.js';
import { makeSourceTree } from '../support/source-tree.js';
import { makeScratch } from '../support/scratch.js';

requirePrivileges();
const scratch = makeScratch();
const at = (...names: string[]): string => join(scratch.path, ...names);
after(() => scratch.remove());

type Format = 'gnu' | 'posix' | 'oldgnu';

function archiveTree(tree: string, format: Format): Buffer {
  const archive = `${tree}.tar`;
  const xattrs = format === 'posix' ? ['--xattrs', '--xattrs-include=user.*', '--xattrs-include=security.capability'] : [];
  run('tar', '-C', tree, `--format=${format}`, ...xattrs, '--numeric-owner', '-cf', archive, '.');
  return readFileSync(archive);
}

function extract(archive: string, target: string): void {
  mkdirSync(target, { recursive: true });
  const xattrs = ['--xattrs', '--xattrs-include=user.*', '--xattrs-include=security.capability'];
  run('tar', '-C', target, '-xpf', archive, '--numeric-owner', '--same-owner', '--delay-directory-restore', ...xattrs);
}

function importLayers(layers: readonly Buffer[], packing: Packing = 'gzip'): string {
  const source = writeArchive(at('image.tar'), dockerArchive([{ layers: layers.map((tar) => ({ tar, packing })) }]));
  const said = run(CFSCTL, '--json', 'oci', 'import', '--repo', at('repository'), source, 'x');
  assert.match(run(CFSCTL, 'fsck', '--repo', at('repository')), /all is well/);
  return (JSON.parse(said) as { digest: string }).digest;
}

function digestOfDirectory(tree: string): string {
  return `sha256:${run(CFSCTL, 'mkfs', '--hard-links', '--print-digest-only', tree).trim()}`;
}

/** What is in a directory, links not followed. */
function findIn(path: string, ...words: string[]): string[] {
  return run('find', path, '-mindepth', '1', ...words)
    .split('\n')
    .filter((each) => each !== '');
}

for (const format of ['posix', 'gnu', 'oldgnu'] as const) {
  test(`one layer as GNU tar writes it (${format}): every kind of file, long names and targets, hard links, owners, times, attributes`, () => {
    const tree = at(`tree-${format}`);
    makeSourceTree(tree);
    // A tree for images has whiteouts, which no container image has in this form.
    for (const path of findIn(tree, '-name', 'whiteout')) rmSync(path);
    const layer = archiveTree(tree, format);
    extract(`${tree}.tar`, at(`extracted-${format}`));
    assert.equal(importLayers([layer]), digestOfDirectory(at(`extracted-${format}`)));
  });
}

/** A tree that is made by steps; times are set at last, because making things changes them. */
function makeLayer(name: string, make: (path: (inner: string) => string) => void): Buffer {
  const tree = at(name);
  mkdirSync(tree);
  make((inner) => {
    mkdirSync(dirname(join(tree, inner)), { recursive: true });
    return join(tree, inner);
  });
  for (const [index, path] of [tree, ...findIn(tree)].entries()) lutimesSync(path, 1e9 + index, 1e9 + index + name.length / 7);
  return archiveTree(tree, 'posix');
}

test('three layers, applied in order: files changed, added and replaced by others; whiteouts as rm has them', () => {
  const layers = [
    makeLayer('layer-1', (path) => {
      for (let index = 0; index < 300; index += 1)
        writeFileSync(path(`usr/lib/${index % 7}/${index}`), `${index} `.repeat(index * 11));
      writeFileSync(path('long'), Buffer.alloc(20 << 20, 'long '));
      linkSync(path('usr/lib/1/1'), path('usr/one'));
      symlinkSync('../usr', path('etc/link'));
      writeFileSync(path('kept/below'), 'below');
      chmodSync(path('usr/lib'), 0o711);
    }),
    makeLayer('layer-2', (path) => {
      for (let index = 0; index < 300; index += 3)
        writeFileSync(path(`usr/lib/${index % 7}/${index}`), `new ${index} `.repeat(index * 9));
      writeFileSync(path('kept/.wh.below'), '');
      writeFileSync(path('kept/above'), 'above'.repeat(100));
      writeFileSync(path('usr/lib/1/.wh.1'), '');
      chownSync(path('usr/lib/0/0'), 1000, 70_000);
      chmodSync(path('usr/lib/0/0'), 0o6755);
    }),
    makeLayer('layer-3', (path) => {
      writeFileSync(path('usr/lib/6/.wh.6'), '');
      writeFileSync(path('usr/lib/5/5'), 'third'.repeat(50));
      utimesSync(path('usr/lib/5'), 5, 5);
    }),
  ];
  const target = at('applied');
  for (const name of ['layer-1', 'layer-2', 'layer-3']) {
    extract(at(`${name}.tar`), target);
    for (const path of findIn(target, '-name', '.wh.*')) {
      rmSync(path.replace('.wh.', ''), { recursive: true, force: true });
      rmSync(path);
    }
    // To remove something changes the time of its directory, which a layer brings along.
    extract(at(`${name}.tar`), at('times'));
    run('sh', '-c', `cd ${at('times')} && find . -type d -exec touch -h -r {} ${target}/{} \\;`);
    rmSync(at('times'), { recursive: true });
  }
  const wanted = digestOfDirectory(target);
  for (const packing of ['none', 'gzip', 'zstd'] as const) assert.equal(importLayers(layers, packing), wanted);
});

test('without hard links it is what cfsctl import makes of the directory', () => {
  const layer = makeLayer('plain', (path) => {
    for (let index = 0; index < 50; index += 1) writeFileSync(path(`d${index % 5}/${index}`), `${index}`.repeat(index * 30));
    symlinkSync('d1/1', path('link'));
  });
  extract(at('plain.tar'), at('plain-extracted'));
  const said = JSON.parse(run(CFSCTL, '--json', 'import', '--repo', at('other'), at('plain-extracted'), 'x')) as {
    digest: string;
  };
  assert.equal(importLayers([layer]), said.digest);
});
