// Reading what is in an image goes wrong: nothing is held, nothing wrong is remembered, nobody else waits.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { composefsOf } from '../support/composefs.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { digestOfBytes, makeErofs, policyText } from '../support/images.js';
import { buildMutant } from '../support/mutant.js';
import { makeScratch } from '../support/scratch.js';
import { injectFault } from '../support/strace.js';

const scratch = makeScratch();
const repository = join(scratch.path, 'repository');
const digests: string[] = [];
let actor: Actor;
let other: Actor;
let policy: string;

/** System calls on the way of an image that was not seen before, and how many of each are made to fail. */
const CALLS = [
  ['fcntl', 8],
  ['pread64', 4],
  ['statx', 12],
  ['openat2', 3],
] as const;
const FAULTS = CALLS.flatMap(([syscall, last]) => Array.from({ length: last }, (_, index) => [syscall, index + 1] as const));
const fresh = (index: number, kind: 'erofs' | 'composefs'): string => join(scratch.path, `${index}.${kind}`);
const LARGE = join(scratch.path, 'large.cfs');

function addComposefs(path: string, lines: readonly string[]): void {
  const bytes = composefsOf(lines);
  writeFileSync(path, bytes);
  chmodSync(path, 0o644);
  digests.push(digestOfBytes(bytes));
}

before(async () => {
  mkdirSync(join(repository, 'objects'), { recursive: true });
  for (const index of [-1, ...FAULTS.keys()]) {
    digests.push(makeErofs(fresh(index, 'erofs'), { number: String(index) }));
    addComposefs(fresh(index, 'composefs'), [`/number${index} 3 100644 1 0 0 0 0.0 - abc -`]);
  }
  const hex = (index: number): string => index.toString(16).padStart(64, '0');
  const place = (index: number): string => `${hex(index).slice(0, 2)}/${hex(index).slice(2)}`;
  const files = Array.from(
    { length: 30_000 },
    (_, index) => `/file${index} 9 100644 1 0 0 0 ${index}.0 ${place(index)} - ${hex(index)}`,
  );
  addComposefs(LARGE, files);
  policy = policyText({ digests, repositories: { [repository]: 'trusted' } });
  actor = await startActor({ uid: 4736 });
  other = await startActor({ uid: 4737 });
});
after(async () => {
  for (const one of [actor, other]) await one?.stop();
  scratch.remove();
});

/** Mounts or checks a file; returns what became of it. */
function ask(who: Actor, daemon: Daemon, path: string, how: 'mount' | 'check'): Promise<string> {
  return who.do(
    ({ client, file }, { address, path, how }) => {
      const connection = client.connect({ address, timeoutMs: 60_000 });
      const fd = file.openPath(path, file.O_RDONLY);
      try {
        if (how === 'check') {
          const { verdict, canonical, objects } = connection.checkFile(fd, []);
          return `${verdict}, canonical ${canonical}, ${objects} objects`;
        }
        connection.mountFile(fd, []).mount.close();
        return 'mounted';
      } catch (error) {
        const { code, message } = error as { code?: string; message: string };
        return `${code}: ${message}`;
      } finally {
        fd.close();
        connection.close();
      }
    },
    { address: daemon.address, path, how },
  );
}

/** Descriptors of files of this test and of private copies. */
const heldFiles = (daemon: Daemon): string[] =>
  [...daemon.fds().values()].filter((target) => /\.(erofs|composefs|cfs)$|\/copies\/[^/]+\/./.test(target));

test(
  'each system call on the way of a new image fails in turn: no file stays open, and the image is read the next time',
  { timeout: 300_000 },
  async () => {
    const daemon = await startDaemon({ policy });
    try {
      for (const kind of ['erofs', 'composefs'] as const)
        assert.equal(await ask(actor, daemon, fresh(-1, kind), 'mount'), 'mounted');
      let hits = 0;
      const outcomes = new Set<string>();
      for (const [index, [syscall, nth]] of FAULTS.entries()) {
        for (const kind of ['erofs', 'composefs'] as const) {
          const fault = await injectFault(daemon.pid, syscall, 'error=EIO', String(nth));
          const outcome = await ask(actor, daemon, fresh(index, kind), 'mount');
          await fault.detach();
          hits += fault.hits().length;
          outcomes.add(outcome.split(':')[0]!);
          assert.equal(daemon.process.exitCode, null, daemon.stderr().slice(-1500));
          assert.equal(await ask(actor, daemon, fresh(index, kind), 'mount'), 'mounted', `after ${syscall} ${nth}: ${outcome}`);
          await daemon
            .eventually('no file is held', () => heldFiles(daemon).length === 0)
            .catch(() => {
              assert.deepEqual(heldFiles(daemon), [], `${syscall} ${nth}, ${kind}`);
            });
        }
      }
      assert.ok(hits >= FAULTS.length, `only ${hits} calls failed`);
      assert.ok(outcomes.has('BadImage') && outcomes.has('mounted'), [...outcomes].join());
    } finally {
      await daemon.stop();
    }
  },
);

test(
  'an image that takes more memory than a thread has: that thread dies, and the service answers, now and later',
  { timeout: 120_000 },
  async () => {
    const programs = join(scratch.path, 'programs');
    await buildMutant(programs, [
      { source: 'daemon/worker/pool.ts', find: 'const MAX_HEAP = 1024;', replace: 'const MAX_HEAP = 14;' },
    ]);
    const daemon = await startDaemon({ policy, programs });
    try {
      const first = await ask(actor, daemon, LARGE, 'check');
      const died = daemon.stderr().split('a worker thread died').length - 1;
      assert.ok(died > 0, `there was memory enough: ${first}`);
      // Without its tree it may still fit; with it, it does not.
      assert.ok(/^allow, canonical false|^BadImage: the image (takes|needs) more/.test(first), first);
      assert.equal(await ask(other, daemon, fresh(-1, 'erofs'), 'mount'), 'mounted');
      assert.equal(await ask(actor, daemon, fresh(-1, 'composefs'), 'check'), 'allow, canonical true, 0 objects');
      await daemon.eventually('no file is held', () => heldFiles(daemon).length === 0);
      assert.ok(!daemon.stderr().includes('internal error'), daemon.stderr().slice(-1500));
    } finally {
      await daemon.stop();
    }
  },
);

test('with the memory there is, the same image is judged', async () => {
  const daemon = await startDaemon({ policy });
  try {
    assert.equal(await ask(actor, daemon, LARGE, 'check'), 'allow, canonical true, 30000 objects');
    assert.equal(await ask(actor, daemon, LARGE, 'mount'), 'mounted');
  } finally {
    await daemon.stop();
  }
});

test('while the images of one user are read, another is served', { timeout: 120_000 }, async () => {
  const daemon = await startDaemon({ policy });
  try {
    const busy = Promise.all(Array.from({ length: 6 }, () => ask(actor, daemon, LARGE, 'check')));
    const started = performance.now();
    assert.equal(await ask(other, daemon, fresh(0, 'composefs'), 'mount'), 'mounted');
    const served = performance.now() - started;
    const finished = await busy;
    const all = performance.now() - started;
    assert.deepEqual([...new Set(finished)], ['allow, canonical true, 30000 objects']);
    assert.ok(served < all / 2, `the other user waited ${served.toFixed(0)} of ${all.toFixed(0)} ms`);
  } finally {
    await daemon.stop();
  }
});
