// cfsctl oci import, and the gc after it, that end anywhere: the repository is sound each time, and the next run completes it.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { CFSCTL } from '../support/cfsctl.js';
import { killAtCall, killTimes, runWords } from '../support/killing.js';
import { requirePrivileges, run } from '../support/machine.js';
import { dockerArchive, writeArchive } from '../support/oci-image.js';
import { makeScratch } from '../support/scratch.js';
import { tarFile } from '../support/tar-file.js';

requirePrivileges();
/** Points in time at which a run is killed. */
const KILLS = Number(process.env['KILLS'] ?? 8);
const scratch = makeScratch();
const at = (...names: string[]): string => join(scratch.path, ...names);
const FILES = 200;
const repository = at('repository');

/** Two layers of many files, the upper one replacing some; and a long file. */
function makeImage(word: string): string {
  const files = (count: number, more: string) =>
    Array.from({ length: count }, (_, i) => ({ name: `d/${i}`, data: `${word}${more}${i} `.repeat(200 + i) }));
  const layers = [
    tarFile(...files(FILES, ''), { name: 'long', data: Buffer.alloc(9 << 20, word) }),
    tarFile(...files(FILES / 4, 'new '), { name: `d/.wh.${FILES - 1}` }),
  ];
  return writeArchive(at(`${word}.tar`), dockerArchive([{ layers: layers.map((tar) => ({ tar, packing: 'gzip' as const })) }]));
}

const cfsctl = (...words: string[]): string[] => [CFSCTL, '--address', 'unix:path=/nonexistent', ...words];
const IMPORT = cfsctl('oci', 'import', '--repo', repository, at('one.tar'), 'team/base');
const OTHER = cfsctl('oci', 'import', '--repo', repository, at('two.tar'), 'team/base');
const GC = cfsctl('gc', '--repo', repository);
// All but the one that is taken away, the long one, the image.
const OBJECTS = FILES - 1 + 2;

before(() => {
  // What a killed process leaves behind does not depend on the disk, and without one there is time for more runs.
  run('mount', '-t', 'tmpfs', 'tmpfs', scratch.path);
  makeImage('one');
  makeImage('two');
});
after(() => {
  run('umount', '-l', scratch.path);
  scratch.remove();
});

/** Fails unless everything in the repository is right, and every name leads to an image that is whole. */
function assertSound(): string {
  if (!existsSync(join(repository, 'meta.json'))) {
    const names = existsSync(repository) ? readdirSync(repository) : [];
    assert.ok(names.length === 0, `without meta.json there is nothing: ${names.join(' ')}`);
    return '';
  }
  const said = runWords(cfsctl('fsck', '--repo', repository));
  assert.match(said, /all is well\n$/);
  const isNamed = existsSync(join(repository, 'oci/refs/team/base'));
  if (isNamed) assert.match(runWords(cfsctl('oci', 'config', '--repo', repository, 'team/base')), /"diff_ids"/);
  return said;
}

function assertComplete(): void {
  runWords(IMPORT);
  assert.match(assertSound(), / 1 name, \d OCI images?: /);
  // What killed runs left is gone, and nothing else.
  runWords(GC);
  assert.match(assertSound(), new RegExp(`^${OBJECTS} objects, 1 image, 1 name, 1 OCI image: `));
  assert.deepEqual(readdirSync(repository).sort(), ['images', 'meta.json', 'objects', 'oci']);
  assert.equal(readdirSync(join(repository, 'oci')).length, 2, 'the record, and the names');
  assert.ok(readdirSync(join(repository, 'objects')).every((name) => /^[0-9a-f]{2}$/.test(name)));
}

/** Whether some of the objects are there, and some are not. */
function isBetween(said: string): boolean {
  const objects = Number(/^(\d+) objects?/.exec(said)?.[1] ?? 0);
  return objects > 0 && objects < OBJECTS;
}

const remove = (): void => rmSync(repository, { recursive: true, force: true });

test(`oci import killed at ${KILLS} random points: fsck is clean each time, and the next run completes it`, async () => {
  let between = 0;
  // From nothing every other time, else from what the kill before left.
  const prepare = (kill: number): void => (kill % 2 === 0 ? remove() : undefined);
  await killTimes(KILLS, IMPORT, prepare, () => {
    if (isBetween(assertSound())) between += 1;
  });
  console.log(`oci import: ${KILLS} runs killed, ${between} left some of the objects`);
  // A few may all come too early; the kills at linkat do not.
  if (KILLS >= 50) assert.ok(between > 0, 'some were killed between the first object and the last');
  assertComplete();
});

test(`gc killed at ${Math.ceil(KILLS / 3)} random points: what has a name is whole each time`, async () => {
  await killTimes(Math.ceil(KILLS / 3), GC, prepareGc, () => assert.match(assertSound(), / 1 name, \d OCI images?: /));
  assertComplete();
});

function prepareGc(): void {
  runWords(OTHER);
  runWords(IMPORT);
}

/** Places where a run is on its way from one state of the repository to the next. */
const CALLS: readonly (readonly [what: string, words: readonly string[], calls: readonly string[]])[] = [
  ['oci import', IMPORT, ['mkdirat', 'linkat', 'symlinkat', 'renameat', 'fsync', 'syncfs', 'fchmod']],
  ['gc', GC, ['unlinkat', 'fsync']],
];
const WHEN: Readonly<Record<string, readonly number[]>> = {
  // The record's three files, its two names and those of the image.
  renameat: [1, 2, 3, 4, 5, 6],
  symlinkat: [1, 2, 3],
};
for (const [what, words, calls] of CALLS) {
  for (const call of calls) {
    const points = WHEN[call] ?? [1, 2, 50];
    test(`${what} killed at ${call} number ${points.join(', ')}`, () => {
      let killed = 0;
      let between = 0;
      for (const when of points) {
        if (words === IMPORT) remove();
        else prepareGc();
        if (killAtCall(call, when, words)) killed += 1;
        if (isBetween(assertSound())) between += 1;
      }
      assert.ok(killed > 0, 'it was killed there');
      if (call === 'linkat') assert.ok(between > 0, 'between the first object and the last');
      assertComplete();
    });
  }
}

test('a name that leads to another image is killed on its way: it leads to one of the two each time', () => {
  const config = (): string => runWords(cfsctl('oci', 'config', '--repo', repository, 'team/base'));
  runWords(OTHER);
  const other = config();
  runWords(IMPORT);
  const wanted = config();
  const seen = new Set<string>();
  // The links of the image, its name, the record's name.
  for (const when of [1, 2, 3]) {
    runWords(OTHER);
    killAtCall('renameat', when, IMPORT);
    const found = config();
    assert.ok(found === other || found === wanted);
    seen.add(found);
    assertSound();
  }
  assert.ok(seen.has(other));
  assertComplete();
});
