// cfsctl import and gc that end anywhere: the repository is sound each time, and the next run completes it.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { CFSCTL } from '../support/cfsctl.js';
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

function runWords([command, ...words]: readonly string[]): string {
  return run(command!, ...words);
}

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

async function killAfter(milliseconds: number, [command, ...words]: readonly string[]): Promise<boolean> {
  const child = spawn(command!, words, { stdio: 'ignore' });
  const exit = once(child, 'exit');
  await sleep(milliseconds);
  child.kill('SIGKILL');
  const [, signal] = (await exit) as [number | null, NodeJS.Signals | null];
  return signal === 'SIGKILL';
}

/** Milliseconds of an undisturbed run: the median of three. */
function timeRun(prepare: () => void, words: readonly string[]): number {
  const times = [1, 2, 3].map(() => {
    prepare();
    const start = performance.now();
    runWords(words);
    return performance.now() - start;
  });
  return times.sort((a, b) => a - b)[1]!;
}

/** Runs until so many runs were killed on their way, each looked at by `look`. How long a run takes changes with what else the machine does: this follows. */
async function killTimes(
  kills: number,
  words: readonly string[],
  prepare: (kill: number) => void,
  look: () => void,
): Promise<void> {
  let duration = timeRun(() => prepare(0), words);
  for (let killed = 0, runs = 0; killed < kills; runs += 1) {
    assert.ok(runs < 10 * kills, `${killed} of ${runs} runs were killed`);
    prepare(killed);
    // Until Node has started there is nothing to see, and little until the first objects get their names.
    const early = await killAfter((0.4 + 0.6 * Math.random()) * duration, words);
    duration *= early ? 1.03 : 0.95;
    if (early) killed += 1;
    look();
  }
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
        const inject = [
          '-f',
          '-qq',
          '-o',
          '/dev/null',
          '-e',
          `trace=${call}`,
          '-e',
          `inject=${call}:signal=SIGKILL:when=${when}`,
        ];
        const { signal, status } = spawnSync('strace', [...inject, ...words]);
        assert.ok(signal === 'SIGKILL' || status === 0, `${signal} ${status}`);
        if (signal === 'SIGKILL') killed += 1;
        assertSound();
      }
      assert.ok(killed > 0, 'it was killed there');
      assertComplete();
    });
  }
}
