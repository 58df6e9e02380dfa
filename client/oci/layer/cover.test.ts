import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { type ByteString } from '../../../core/image/bytes.js';
import { createCover } from './cover.js';
import { type LayerDirectory, isDirectory, newLayerDirectory } from './tree.js';

const name = fc.constantFrom('a', 'b', 'c') as unknown as fc.Arbitrary<ByteString>;
const path = fc.array(name, { minLength: 1, maxLength: 4 });
const { layer } = fc.letrec<{ layer: LayerDirectory }>((tie) => ({
  layer: fc
    .record({
      opaque: fc.boolean(),
      whiteouts: fc.uniqueArray(name),
      below: fc.dictionary(
        name as unknown as fc.Arbitrary<string>,
        fc.oneof({ depthSize: 'small' }, fc.constant(undefined), tie('layer')),
      ),
    })
    .map(({ opaque, whiteouts, below }) => {
      const made = newLayerDirectory();
      made.opaque = opaque;
      if (whiteouts.length > 0) made.whiteouts = new Set(whiteouts);
      // A link to below is the shortest thing that is no directory.
      for (const [key, child] of Object.entries(below))
        made.entries.set(key as ByteString, (child as LayerDirectory | undefined) ?? { lower: [], node: undefined });
      return made;
    }),
}));

/** As it is said: one layer after the other. */
function isHiddenBy(directory: LayerDirectory, [first, ...rest]: readonly ByteString[]): boolean {
  if (first === undefined) return true;
  if (directory.opaque || directory.whiteouts?.has(first) === true) return true;
  const entry = directory.entries.get(first);
  if (entry === undefined) return false;
  return !isDirectory(entry) || isHiddenBy(entry, rest);
}

test('hidden is what one of the layers hides', () => {
  let seen = 0;
  fc.assert(
    fc.property(fc.array(layer, { maxLength: 4 }), fc.array(path, { minLength: 20, maxLength: 20 }), (layers, paths) => {
      const cover = createCover();
      for (const each of layers) cover.add(each);
      for (const parts of paths) {
        const hidden = layers.some((each) => isHiddenBy(each, parts));
        assert.equal(cover.hides(parts), hidden);
        if (hidden) seen += 1;
      }
    }),
    { numRuns: 500 },
  );
  assert.ok(seen > 1000, `${seen} were hidden`);
});

test('a file is looked up along its name once, however many layers there are', () => {
  const cover = createCover();
  const parts = Array.from({ length: 100 }, () => 'd' as ByteString);
  for (let index = 0; index < 255; index += 1) {
    const root = newLayerDirectory();
    let place = root;
    for (const part of parts) {
      const next = newLayerDirectory();
      place.entries.set(part, next);
      place = next;
    }
    cover.add(root);
  }
  let steps = 0;
  const counted = new Proxy([...parts, 'file' as ByteString], {
    get: (target, key) => {
      if (typeof key === 'string' && /^[0-9]+$/.test(key)) steps += 1;
      return Reflect.get(target, key) as unknown;
    },
  });
  assert.equal(cover.hides(counted), false);
  assert.equal(steps, parts.length + 1);
});
