// What is seen of layers on top of each other: whiteouts, opaque directories, links, things in place of others.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { makeOciRoom, text } from '../support/oci-room.js';
import { tarFile, type TarFields } from '../support/tar-file.js';

const { fresh, importInto, archiveOf, pathsOf, remove } = makeOciRoom();
after(remove);

const flat = (...layers: TarFields[][]): string[] => {
  const repository = fresh('repository');
  return pathsOf(
    repository,
    importInto(repository, archiveOf({ layers: layers.map((entries) => tarFile(...entries)) }), 'x').digest,
  ).slice(1);
};
const file = (name: string): TarFields => ({ name, data: text(name) });
const directory = (name: string): TarFields => ({ name, type: '5' });

/** Layers from the bottom up, and what is seen. */
const FLATTENED: Readonly<Record<string, readonly [layers: TarFields[][], seen: string[]]>> = {
  'an opaque marker before the entries of its layer': [
    [[file('d/a')], [{ name: 'd/.wh..wh..opq' }, file('d/b')]],
    ['/d', '/d/b'],
  ],
  'an opaque marker behind the entries of its layer': [
    [[file('d/a')], [file('d/b'), { name: 'd/.wh..wh..opq' }]],
    ['/d', '/d/b'],
  ],
  'an opaque root': [
    [
      [file('a'), file('d/b')],
      [file('c'), { name: '.wh..wh..opq' }],
    ],
    ['/c'],
  ],
  'a whiteout hides nothing of its own layer': [[[file('a')], [file('a'), { name: '.wh.a' }]], ['/a']],
  'a whiteout of a directory that is made anew': [
    [[file('d/a')], [{ name: '.wh.d' }, file('d/b')]],
    ['/d', '/d/b'],
  ],
  'a whiteout of nothing': [[[file('a')], [{ name: '.wh.b' }]], ['/a']],
  'a whiteout of aufs, which is a hard link': [[[file('a')], [{ name: '.wh.a', type: '1', link: '.wh..wh.aufs' }]], []],
  'what aufs kept for itself': [[[file('a'), directory('.wh..wh.plnk/'), file('.wh..wh.plnk/1.2')]], ['/a']],
  'a file in place of a directory': [[[file('d/a')], [file('d')]], ['/d']],
  'a directory in place of a file': [
    [[file('d')], [file('d/a')]],
    ['/d', '/d/a'],
  ],
  'a directory in place of a link to one': [
    [[file('e/a'), { name: 'd', type: '2', link: 'e' }], [file('d/b')]],
    ['/d', '/d/b', '/e', '/e/a'],
  ],
  'a link to a file that the same layer hides': [[[file('a')], [{ name: 'b', type: '1', link: 'a' }, { name: '.wh.a' }]], ['/b']],
  'a link to a link to a lower file, both seen': [
    [
      [file('a')],
      [
        { name: 'b', type: '1', link: 'a' },
        { name: 'c', type: '1', link: 'b' },
      ],
    ],
    ['/a', '/b', '/c'],
  ],
  'a file that is hidden, and another name of it that is not': [
    [
      [file('a'), { name: 'b', type: '1', link: 'a' }, { name: 'c', type: '1', link: 'b' }],
      [file('a'), { name: '.wh.b' }],
    ],
    ['/a', '/c'],
  ],
  'a link from the third layer to what the second hides': [
    [
      [file('a'), file('z')],
      [{ name: 'b', type: '1', link: 'a' }, { name: '.wh.a' }],
      [{ name: 'c', type: '1', link: 'b' }, { name: '.wh.b' }],
    ],
    ['/c', '/z'],
  ],
  'a name that comes again': [[[file('a'), { name: 'a', type: '5' }, file('a/b'), { name: 'a', type: '2', link: 'c' }]], ['/a']],
  'names with dots, slashes and an absolute one': [
    [[file('./a'), file('b//c/./d'), file('/e')]],
    ['/a', '/b', '/b/c', '/b/c/d', '/e'],
  ],
};
for (const [what, [layers, seen]] of Object.entries(FLATTENED)) {
  test(`flattened: ${what}`, () => {
    assert.deepEqual(flat(...layers), seen);
  });
}
