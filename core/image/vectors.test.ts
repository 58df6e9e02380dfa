import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { badVectors, goodVectors, noVectors, sampleFolder } from '../../test/support/vectors.js';
import { isCanonical } from './canonical.js';
import { dumpLines } from './dump-writer.js';
import { parseDump } from './dump-parser.js';
import { readFacts } from './facts.js';
import { FormatError } from './format-error.js';
import { readImage } from './reader.js';
import type { Node } from './tree.js';
import { createVerityHasher } from './verity-hash.js';
import { chooseVersion } from './version.js';
import { writeImage } from './writer.js';

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function fsverity(bytes: Uint8Array): string {
  const hasher = createVerityHasher('sha256');
  hasher.update(bytes);
  return hasher.digest();
}

function dump(root: Node): string {
  return [...dumpLines(root)].join('');
}

test('reference files are there', { skip: noVectors }, () => {
  assert.ok(goodVectors().length >= 7 && badVectors().length >= 7);
});

for (const vector of goodVectors()) {
  test(`${vector.name}: the image is the reference's, byte for byte, and stable through its own dump`, () => {
    const root = parseDump(vector.dump);
    const version = chooseVersion(root, vector.range);
    assert.equal(version, vector.version);
    const image = writeImage(root, version);
    assert.equal(image.length, vector.size);
    assert.equal(sha256(image), vector.sha256);
    assert.equal(fsverity(image), `sha256:${vector.fsverity}`);
    const options = { hugeFiles: true };
    assert.ok(isCanonical(image, options));
    const lines = dump(readImage(image, options).root);
    const again = writeImage(parseDump(Buffer.from(lines), { strict: true }), version);
    assert.equal(sha256(again), vector.sha256);
    assert.equal(dump(readImage(again, options).root), lines);
  });
}

/** Line and rule of each refusal, by what the file is called. */
const refusals: Readonly<Record<string, readonly [line: number, rule: string]>> = {
  'big-inline': [2, 'content-length'],
  'dir-hardlink': [2, 'link-to-directory'],
  'dot-name': [2, 'name-dot'],
  'dotdot-name': [2, 'name-dot'],
  'empty-name': [2, 'name-empty'],
  'empty-link-name': [2, 'target-missing'],
  'empty-xattr-key': [2, 'xattr-key-empty'],
  'long-link': [2, 'target-length'],
  'no-ftype': [2, 'mode-type'],
  'self-hardlink': [2, 'link-to-itself'],
  'too-big': [2, 'external-size'],
};

for (const [name, bytes] of badVectors()) {
  test(`${name} is refused, with line and rule`, () => {
    assert.throws(
      () => parseDump(bytes),
      (error) => {
        assert.ok(error instanceof FormatError && error.position !== undefined);
        const [line, rule] = refusals[name.replace(/^should-fail-|\.dump.*$/g, '')] ?? [error.position.line, error.rule];
        assert.deepEqual([error.position.line, error.rule], [line, rule]);
        assert.match(error.message, new RegExp(`^line ${line}, column \\d+: .*\\(${rule}\\)$`));
        return true;
      },
    );
  });
}

test('strict mode refuses the sloppy reference dumps and takes the others', { skip: noVectors }, () => {
  const sloppy = { 'no-newline.dump': 'strict-rdev', 'longlink.dump': 'strict-target-size' };
  for (const { name, dump: bytes } of goodVectors()) {
    const rule = sloppy[name as keyof typeof sloppy];
    if (rule === undefined) parseDump(bytes, { strict: true });
    else assert.throws(() => parseDump(bytes, { strict: true }), { name: 'FormatError', rule });
  }
});

test('the sample image: read, dumped, parsed and written it is the same; its facts', { skip: noVectors }, () => {
  const image = new Uint8Array(readFileSync(join(sampleFolder, 'sample.cfs')));
  assert.equal(fsverity(image).replace('sha256:', ''), readFileSync(join(sampleFolder, 'digest'), 'utf8').trim());
  const { root, version } = readImage(image);
  assert.equal(Buffer.compare(writeImage(parseDump(Buffer.from(dump(root)), { strict: true }), version), image), 0);
  const { objects, ...facts } = readFacts(image);
  assert.equal(objects.length, 902);
  assert.deepEqual(facts, {
    version: 0,
    canonical: true,
    entries: 1354,
    devices: 0,
    setUid: 1,
    setGid: 0,
    fileCapabilities: 0,
    largestUid: 1000,
    largestGid: 1000,
    unpinned: 0,
    misdirected: 0,
    escaping: 0,
  });
});

const rootOnly = '/ 4096 40755 2 0 0 0 0.0 - - -\n';
const known: readonly (readonly [what: string, lines: string, version: 0 | 1, sha: string, digest: string])[] = [
  [
    'an empty root',
    rootOnly,
    0,
    'c3dc5b0fc4afb0693a95e017fe5815e1f88f204d485df617541b5ea659aefb8b',
    '8f589e8f57ecb88823736b0d857ddca1e1068a23e264fad164b28f7038eb3682',
  ],
  [
    'content, an object, xattrs and a whiteout',
    `${rootOnly}/a 5 100644 1 0 0 0 0.0 - abcde -
/b 70 100644 1 0 0 0 1.0 ab/cd - 0000000000000000000000000000000000000000000000000000000000000007 user.z=1 user.a=2
/w 0 20600 1 1 2 0 0.0 - - -
`,
    1,
    '345d6a98085982a46ff2b351c7d952872851c8c6f35dbf06567707e3283291a8',
    '93610f9181d63397648146591bc2ec8198301fe871ce228d686350494d1da7eb',
  ],
];

for (const [what, lines, version, sha, digest] of known) {
  test(`known image: ${what}`, () => {
    const root = parseDump(Buffer.from(lines), { strict: true });
    assert.equal(chooseVersion(root), version);
    const image = writeImage(root, version);
    assert.equal(sha256(image), sha);
    assert.equal(fsverity(image), `sha256:${digest}`);
  });
}
