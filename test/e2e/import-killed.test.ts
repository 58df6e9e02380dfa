// cfsctl import and gc that end anywhere: the repository is sound each time, and the next run completes it.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { CFSCTL } from '../support/cfsctl.js';
import { killAtCall, killTimes, runWords } from '../support/killing.js';
import { requirePrivileges, run } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';

requirePrivileges();
/** Points in time at which a run is killed. */
const KILLS = Number(process.env['KILLS'] ?? 20);
const scratch = makeScratch();
const at = (...names: string[]): string => join(scratch.path, ...names);
const FILES = 400;
const repository = at('repository');

before(() => {
  // What a killed process leaves behind does not depend on the disk, and without one there is time for more runs.
  run('mount', '-t', 'tmpfs', 'tmpfs', scratch.path);
  mkdirSync(at('tree'));
  mkdirSync(at('other'));
  for (let i = 0; i < FILES; i++) writeFileSync(at('tree', `${i}`), Buffer.alloc(2000 + 37 * i, `${i} `));
  for (let i = 0; i < FILES; i++) writeFileSync(at('other', `${i}`), Buffer.alloc(1000 + 41 * i, `${i % 150} `));
  writeFileSync(at('tree/long'), Buffer.alloc(20 << 20, 'long'));
});
after(() => {
  run('umount', '-l', scratch.path);
  scratch.remove();
});

const cfsctl = (...words: string[]): string[] => [CFSCTL, '--address', 'unix:path=/nonexistent', ...words];
const IMPORT = cfsctl('import', '--repo', repository, at('tree'), 'team/base');
const GC = cfsctl('gc', '--repo', repository);

/** Fails unless everything in the repository is right. Before there is a meta.json or an object directory it is none yet. */
function assertSound(): string {
  if (!existsSync(join(repository, 'meta.json'))) {
    const names = existsSync(repository) ? readdirSync(repository) : [];
    assert.ok(names.length === 0, `without meta.json there is nothing: ${names.join(' ')}`);
    return '';
  }
  const said = runWords(cfsctl('fsck', '--repo', repository));
  assert.match(said, /all is well\n$/);
  return said;
}

function assertComplete(): void {
  runWords(IMPORT);
  assert.match(assertSound(), / 1 name: /);
  // What killed runs left is gone, and nothing else.
  runWords(GC);
  assert.match(assertSound(), new RegExp(`^${FILES + 2} objects, 1 image, 1 name: `));
  assert.deepEqual(readdirSync(repository).sort(), ['images', 'meta.json', 'objects']);
  assert.ok(readdirSync(join(repository, 'objects')).every((name) => /^[0-9a-f]{2}$/.test(name)));
}

const remove = (): void => rmSync(repository, { recursive: true, force: true });

test(`import killed at ${KILLS} random points: fsck is clean each time, and the next run completes it`, async () => {
  let between = 0;
  // From nothing every other time, else from what the kill before left.
  const prepare = (kill: number): void => (kill % 2 === 0 ? remove() : undefined);
  await killTimes(KILLS, IMPORT, prepare, () => {
    const [, objects = '0'] = /^(\d+) objects?/.exec(assertSound()) ?? [];
    if (Number(objects) > 0 && Number(objects) < FILES + 2) between += 1;
  });
  console.log(`import: ${KILLS} runs killed, ${between} left some of the objects`);
  assert.ok(between > 0, 'some were killed between the first object and the last');
  assertComplete();
});

test(`gc killed at ${Math.ceil(KILLS / 2)} random points: what has a name is whole each time`, async () => {
  await killTimes(Math.ceil(KILLS / 2), GC, prepareGc, () => assert.match(assertSound(), / 1 name: /));
  assertComplete();
});

function prepareGc(): void {
  runWords(IMPORT);
  runWords(cfsctl('import', '--repo', repository, at('other'), 'other'));
  runWords(cfsctl('rm', '--repo', repository, 'other'));
}

/** Places where a run is on its way from one state of the repository to the next. */
const CALLS: readonly (readonly [words: readonly string[], calls: readonly string[]])[] = [
  [IMPORT, ['mkdirat', 'linkat', 'symlinkat', 'renameat', 'fsync', 'syncfs', 'fchmod', 'flock']],
  [GC, ['unlinkat', 'fsync', 'flock']],
];
for (const [words, calls] of CALLS) {
  for (const call of calls) {
    test(`${words[3]} killed at its first, second, fifth and hundredth ${call}`, () => {
      let killed = 0;
      for (const when of [1, 2, 5, 100]) {
        if (words === IMPORT) remove();
        else prepareGc();
        if (killAtCall(call, when, words)) killed += 1;
        assertSound();
      }
      assert.ok(killed > 0, 'it was killed there');
      assertComplete();
    });
  }
}
