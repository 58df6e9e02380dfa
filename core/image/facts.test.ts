import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { anyTree } from '../../test/support/random-tree.js';
import { byteString } from './bytes.js';
import { factsOf, readFacts, readTreeFacts } from './facts.js';
import { type Node, makeNode } from './tree.js';
import { writeImage } from './writer.js';

const HEX = '0123456789abcdef'.repeat(4);
const DIGEST = byteString(String.fromCharCode(...Buffer.from(HEX, 'hex')));
const PLACE = `${HEX.slice(0, 2)}/${HEX.slice(2)}`;

function rootOf(payload: string | undefined, digest = true): Node {
  const file = makeNode({
    mode: 0o100644,
    size: 70n,
    ...(payload !== undefined && { payload: byteString(payload) }),
    ...(digest && { digest: DIGEST }),
  });
  return makeNode({ mode: 0o40755, children: new Map([[byteString('f'), file]]) });
}

const redirects: readonly (readonly [payload: string | undefined, misdirected: number, escaping: number])[] = [
  [PLACE, 0, 0],
  [undefined, 1, 0],
  ['some/where', 1, 0],
  [PLACE.toUpperCase(), 1, 0],
  [`${PLACE}0`, 1, 0],
  [HEX, 1, 0],
  [`x/../${PLACE}`, 1, 1],
  ['../secret', 1, 1],
  ['..', 1, 1],
  ['a/..', 1, 1],
  [`./${PLACE}`, 1, 1],
  [`/${PLACE}`, 1, 1],
  [`${PLACE}/`, 1, 1],
  [`${HEX.slice(0, 2)}//${HEX.slice(2)}`, 1, 1],
  ['..x/...', 1, 0],
  [`a/${'n'.repeat(255)}`, 1, 0],
  [`a/${'n'.repeat(256)}`, 1, 1],
];
for (const [payload, misdirected, escaping] of redirects) {
  test(`facts of a file redirected to ${payload}`, () => {
    const facts = readTreeFacts(writeImage(rootOf(payload), 0));
    assert.deepEqual([facts.misdirected, facts.escaping, facts.unpinned], [misdirected, escaping, 0]);
  });
}

test('facts: a file without a digest is unpinned and misdirected, wherever it points', () => {
  const facts = readFacts(writeImage(rootOf(PLACE, false), 0));
  assert.deepEqual([facts.unpinned, facts.misdirected, facts.escaping], [1, 1, 0]);
});

test('facts of random trees are the same with and without the tree', () => {
  fc.assert(
    fc.property(anyTree, fc.constantFrom(0 as const, 1 as const), (root, version) => {
      const image = writeImage(root, version);
      const { objects: _, version: __, canonical: ___, ...whole } = readFacts(image, { hugeFiles: true });
      assert.deepEqual(readTreeFacts(image, { hugeFiles: true }), whole);
      const { objects: ____, ...ofTree } = factsOf(root);
      assert.equal(whole.entries, ofTree.entries);
    }),
  );
});
