import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { anyTree } from '../../test/support/random-tree.js';
import { toBytes } from './bytes.js';
import { isCanonicalOf } from './canonical.js';
import { dumpLines } from './dump-writer.js';
import { parseDump } from './dump-parser.js';
import { FormatError } from './format-error.js';
import { readImage } from './reader.js';
import { xattrsSize, type Node } from './tree.js';
import { writeImage } from './writer.js';

const text = new TextEncoder();
/** CFS_RUNS=5000 looks longer. */
const RUNS = Number(process.env['CFS_RUNS'] ?? 100);

function dump(root: Node): string {
  return [...dumpLines(root)].join('');
}

function parse(lines: string): Node {
  return parseDump(text.encode(lines));
}

/** Runs what may refuse hostile input, and nothing else. */
function onlyFormatErrors(act: () => void): void {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof FormatError, String(error));
  }
}

test('any tree: write, read, write gives the same image, which is canonical', () => {
  fc.assert(
    fc.property(anyTree, fc.constantFrom(0 as const, 1 as const), (root, version) => {
      const image = writeImage(root, version);
      const read = readImage(image);
      assert.equal(read.version, version);
      assert.equal(Buffer.compare(writeImage(read.root, version), image), 0);
      assert.ok(isCanonicalOf(image, read));
    }),
    { numRuns: RUNS },
  );
});

test('any tree: its version 0 image holds all of it', () => {
  fc.assert(
    fc.property(anyTree, (root) => {
      assert.equal(dump(readImage(writeImage(root, 0)).root), dump(root));
    }),
    { numRuns: RUNS },
  );
});

test('any tree: dump, parse, dump gives the same lines, and the same image if first names are primary ones', () => {
  fc.assert(
    fc.property(anyTree, (root) => {
      fc.pre(everyNode(root).every((node) => xattrsSize(node.xattrs) <= 32767));
      const lines = dump(root);
      const parsed = parse(lines);
      assert.equal(dump(parsed), lines);
      assert.equal(dump(readImage(writeImage(parsed, 0)).root), lines);
    }),
    { numRuns: RUNS },
  );
});

test('any bytes: parser and reader throw nothing but FormatError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3000, size: 'max' }), (bytes) => {
      onlyFormatErrors(() => parseDump(bytes));
      onlyFormatErrors(() => readImage(bytes));
    }),
  );
});

test('any words in the shape of a dump: the parser throws nothing but FormatError', () => {
  const word = fc.constantFrom(
    '/',
    '/a',
    '/a/b',
    '/b',
    '-',
    '0',
    '1',
    '5',
    '40755',
    '100644',
    '120777',
    '@100644',
    '1.1',
    'abcde',
    'k=v',
    '\\x2d',
    '',
  );
  const line = fc.array(word, { minLength: 7, maxLength: 13 }).map((words) => words.join(' '));
  const head = '/ 0 40755 2 0 0 0 0.0 - - -\n';
  fc.assert(
    fc.property(fc.array(line, { maxLength: 6 }), fc.boolean(), (lines, strict) => {
      onlyFormatErrors(() => writeImage(parseDump(text.encode(head + lines.join('\n')), { strict }), 0));
    }),
    { numRuns: 10 * RUNS },
  );
});

test('an image inside a larger buffer is read as if it were alone', () => {
  fc.assert(
    fc.property(anyTree, (root) => {
      const image = writeImage(root, 0);
      const around = new Uint8Array(image.length + 77).fill(0xff);
      around.set(image, 33);
      assert.equal(dump(readImage(around.subarray(33, 33 + image.length)).root), dump(root));
    }),
    { numRuns: 20 },
  );
});

function everyNode(root: Node): Node[] {
  const nodes = [root];
  for (let index = 0; index < nodes.length; index += 1)
    for (const entry of nodes[index]?.children?.values() ?? []) if ('mode' in entry) nodes.push(entry);
  return nodes;
}

test('every byte of a byte string survives the way to bytes', () => {
  const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  const root = parse(
    '/ 0 40755 2 0 0 0 0.0 - - -\n/a 256 100644 1 0 0 0 0.0 - ' +
      [...all].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('') +
      ' -\n',
  );
  const [file] = everyNode(readImage(writeImage(root, 0)).root).slice(1);
  assert.ok(file?.content !== undefined);
  assert.deepEqual(toBytes(file.content), all);
});
