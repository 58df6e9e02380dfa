// cfsctl mkfs that ends anywhere: what the store holds is always right, and the next run makes it whole.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { createVerityHasher } from '../../core/image/verity-hash.js';
import { loadBlockHasher } from '../../core/kernel/sha2.js';
import { CFSCTL } from '../support/cfsctl.js';
import { requirePrivileges, run } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';

requirePrivileges();
/** Runs that are killed, each at another point in time. */
const KILLS = Number(process.env['KILLS'] ?? 40);
const scratch = makeScratch();
const at = (...names: string[]): string => join(scratch.path, ...names);
const FILES = 400;

before(() => {
  // What a killed process leaves behind does not depend on the disk, and without one there is time for more runs.
  run('mount', '-t', 'tmpfs', 'tmpfs', scratch.path);
  mkdirSync(at('tree'));
  for (let i = 0; i < FILES; i++) writeFileSync(at('tree', `${i}`), Buffer.alloc(2000 + 37 * i, `${i} `));
  writeFileSync(at('tree/long'), Buffer.alloc(20 << 20, 'long'));
});
after(() => {
  // Lazily: the FUSE server takes its time to go.
  run('umount', '-l', scratch.path);
  scratch.remove();
});

interface Place {
  /** What the file system of the store lacks, or has. */
  readonly name: string;
  readonly store: string;
}

/** Checks every object against its name, and returns how many there are. Names that are none may be there after a kill only. */
function countObjects(store: string, whole: boolean): number {
  if (!existsSync(store)) return 0;
  let count = 0;
  for (const directory of readdirSync(store)) {
    if (!whole && directory.startsWith('.cfsctl-')) continue;
    assert.match(directory, /^[0-9a-f]{2}$/);
    for (const name of readdirSync(join(store, directory))) {
      const hasher = createVerityHasher('sha256', loadBlockHasher('sha256'));
      hasher.update(readFileSync(join(store, directory, name)));
      assert.equal(`sha256:${directory}${name}`, hasher.digest());
      assert.equal(statSync(join(store, directory, name)).mode & 0o7777, 0o644);
      count += 1;
    }
  }
  return count;
}

function mkfs(store: string): string[] {
  return [CFSCTL, 'mkfs', '--digest-store', store, at('tree'), at('tree.cfs')];
}

function finish(store: string): void {
  const [command, ...words] = mkfs(store);
  run(command!, ...words);
  assert.equal(countObjects(store, true), FILES + 1);
  run('fsck.erofs', at('tree.cfs'));
  run(CFSCTL, 'verify', at('tree.cfs'), store);
}

/** Milliseconds of an undisturbed run, from an empty store: the median of three. */
function timeRun(store: string): number {
  const [command, ...words] = mkfs(store);
  const times = [1, 2, 3].map(() => {
    rmSync(store, { recursive: true, force: true });
    const start = performance.now();
    run(command!, ...words);
    return performance.now() - start;
  });
  return times.sort((a, b) => a - b)[1]!;
}

/** Milliseconds that it took by itself, or undefined if it was killed. */
async function killAfter(milliseconds: number, store: string): Promise<number | undefined> {
  const [command, ...words] = mkfs(store);
  const child = spawn(command!, words, { stdio: 'ignore' });
  const start = performance.now();
  let end = start;
  const exit = once(child, 'exit').finally(() => (end = performance.now()));
  await sleep(milliseconds);
  child.kill('SIGKILL');
  const [, signal] = (await exit) as [number | null, NodeJS.Signals | null];
  return signal === 'SIGKILL' ? undefined : end - start;
}

async function killManyTimes({ name, store }: Place, kills: number): Promise<void> {
  let duration = timeRun(store);
  rmSync(at('tree.cfs'));
  let killed = 0;
  let between = 0;
  let runs = 0;
  for (; killed < kills && runs < 4 * kills; runs++) {
    // From an empty store every few times, else from what the kills before left.
    if (runs % 2 === 0) rmSync(store, { recursive: true, force: true });
    // Until Node has started there is nothing to see.
    const time = await killAfter((0.2 + 0.8 * Math.random()) * duration, store);
    const count = countObjects(store, false);
    if (time === undefined) killed += 1;
    // The machine has less to do than before.
    else duration = time;
    if (count > 0 && count < FILES + 1) between += 1;
    // An image is named only when all its objects are there.
    if (existsSync(at('tree.cfs'))) {
      run(CFSCTL, 'verify', at('tree.cfs'), store);
      rmSync(at('tree.cfs'));
    }
  }
  console.log(`${name}: ${runs} runs, ${killed} killed, ${between} with some of the objects`);
  assert.equal(killed, kills);
  finish(store);
}

test(`killed at ${KILLS} random points: every object is right, and the next run completes the store`, async () => {
  await killManyTimes({ name: 'with O_TMPFILE', store: at('store') }, KILLS);
});

const noFuse =
  spawnSync('fuse-overlayfs', ['--version']).error === undefined ? false : 'NOT CHECKED: fuse-overlayfs is not installed';
if (noFuse !== false) console.error(noFuse);

test(
  `the same where files have names from the start, as without O_TMPFILE, and nothing is left behind`,
  { skip: noFuse },
  async () => {
    for (const name of ['lower', 'upper', 'work', 'fuse']) mkdirSync(at(name));
    run('fuse-overlayfs', '-o', `lowerdir=${at('lower')},upperdir=${at('upper')},workdir=${at('work')}`, at('fuse'));
    try {
      const store = at('fuse/store');
      mkdirSync(store);
      await killManyTimes({ name: 'without O_TMPFILE', store }, Math.ceil(KILLS / 4));
    } finally {
      run('umount', at('fuse'));
    }
  },
);

/** Places where a thread is on its way from one state of the store to the next. */
const CALLS = ['linkat', 'syncfs', 'fchmod', 'mkdirat', 'renameat', 'pwrite64'];
for (const call of CALLS) {
  test(`killed at its first, fifth and hundredth ${call}`, () => {
    for (const when of [1, 5, 100]) {
      rmSync(at('store'), { recursive: true, force: true });
      const inject = ['-f', '-qq', '-o', '/dev/null', '-e', `trace=${call}`, '-e', `inject=${call}:signal=SIGKILL:when=${when}`];
      const { signal, status } = spawnSync('strace', [...inject, ...mkfs(at('store'))]);
      assert.ok(signal === 'SIGKILL' || status === 0, `${signal} ${status}`);
      countObjects(at('store'), false);
    }
    finish(at('store'));
  });
}
