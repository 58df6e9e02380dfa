// Row 17: images made to harm whoever parses them, with digests that the policy trusts. Defence: the kernel sees no image that the strict readers refuse; they answer in
// time and memory that the image's size bounds. What they take is mounted, and read to its end without harm.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { readErofsFacts } from '../../core/image/erofs-facts.js';
import { readTreeFacts } from '../../core/image/facts.js';
import { FormatError } from '../../core/image/format-error.js';
import { sourceOf } from '../../core/image/image-bytes.js';
import { parseSuperblock } from '../../core/image/superblock.js';
import type { OwnedFd } from '../../core/kernel/fd.js';
import { mutateImage } from '../fuzz/mutate.js';
import { seededRandom } from '../fuzz/random.js';
import { fuzzSubjects } from '../fuzz/subjects.js';
import { type Actor, startActor } from '../support/actor.js';
import { composefsOf } from '../support/composefs.js';
import { type Daemon, readStatus, startDaemon } from '../support/daemon.js';
import { addToRepository, digestOfBytes, policyText } from '../support/images.js';
import { imageCallsDuring } from '../support/image-calls.js';
import { PATIENCE } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';
import { ROOT_NID, type SmallInode, directoryBlock, makeSmallErofs, rootWith } from '../support/small-erofs.js';

const UID = 4734;
const EACH = 120;
/** Milliseconds for one answer; a machine that is busy with other things gets some. */
const MAX_MS = 5_000 * PATIENCE;
/** A damaged image of some kilobytes may cost the service so much memory for good. KiB. */
const MAX_GROWTH = 300_000;

interface Sample {
  readonly path: string;
  readonly digest: string;
  /** By the readers, asked here. */
  readonly isRefused: boolean;
}

const scratch = makeScratch();
const repository = join(scratch.path, 'repository');
const samples: Sample[] = [];
let daemon: Daemon;
let actor: Actor;

function isRefused(bytes: Uint8Array): boolean {
  try {
    const { type } = parseSuperblock(bytes.subarray(0, 4096), bytes.length);
    const facts = type === 'erofs' ? { ...readErofsFacts(sourceOf(bytes)), escaping: 0 } : readTreeFacts(bytes);
    return facts.escaping > 0;
  } catch (error) {
    if (error instanceof FormatError) return true;
    throw error;
  }
}

function addSample(bytes: Uint8Array): void {
  const path = join(scratch.path, `${samples.length}.img`);
  writeFileSync(path, bytes);
  chmodSync(path, 0o644);
  samples.push({ path, digest: digestOfBytes(bytes), isRefused: isRefused(bytes) });
}

/** What no mkfs makes: each was, or could have been, the end of some parser. */
function handmade(): Uint8Array[] {
  const directory = (nid: number, parent: number, entries: [string, number, number][]): SmallInode => ({
    nid,
    mode: 0o40755,
    tail: directoryBlock([['.', nid, 0o40755], ['..', parent, 0o40755], ...entries]),
  });
  const cycle = {
    inodes: [
      rootWith([['a', 60, 0o40755]]),
      directory(60, ROOT_NID, [['b', 64, 0o40755]]),
      directory(64, 60, [['a', 60, 0o40755]]),
    ],
  };
  const loop = { inodes: [rootWith([['a', ROOT_NID, 0o40755]])] };
  const nameBehind = Buffer.from(makeSmallErofs({ inodes: [rootWith([['file', 60, 0o100644]]), { nid: 60, mode: 0o100644 }] }));
  nameBehind.writeUInt16LE(0xffff, ROOT_NID * 32 + 32 + 2 * 12 + 8);
  const endless = Buffer.from(makeSmallErofs({ inodes: [rootWith([]), { nid: 60, mode: 0o100644 }] }));
  endless.writeUInt16LE(1, ROOT_NID * 32); // extended: the size is 64 bits, and huge
  endless.writeUInt32LE(0xffffffff, ROOT_NID * 32 + 12);
  const composefs = composefsOf(['/file 3 100644 1 0 0 0 0.0 - abc -']);
  const manyInodes = composefs.slice();
  new DataView(manyInodes.buffer).setBigUint64(1024 + 16, 500n, true);
  const noMagic = composefs.slice();
  noMagic[0] = 0;
  return [makeSmallErofs(cycle), makeSmallErofs(loop), nameBehind, endless, manyInodes, noMagic];
}

before(async () => {
  mkdirSync(join(repository, 'objects'), { recursive: true });
  const subjects = fuzzSubjects().filter(
    ({ kind, bytes, name }) => kind !== 'dump' && bytes.length < 400_000 && !name.includes('-z'),
  );
  for (const kind of ['image', 'erofs'] as const) {
    const some = subjects.filter((subject) => subject.kind === kind);
    for (let seed = 0; seed < EACH; seed += 1)
      addSample(mutateImage(some[seed % some.length]!.bytes, seededRandom(7_000 + seed)));
  }
  for (const bytes of handmade()) addSample(bytes);
  for (const { path } of samples.slice(0, 20)) addToRepository(repository, path);
  const digests = samples.map(({ digest }) => digest);
  const limits = '[limits]\nmounts-per-user = 1000\n';
  const conditions = 'devices = "allow"';
  daemon = await startDaemon({
    policy: policyText({ digests, repositories: { [repository]: 'trusted' }, conditions, extra: limits }),
  });
  actor = await startActor({ uid: UID });
});
after(async () => {
  await actor?.stop();
  await daemon?.stop();
  scratch.remove();
});

interface Outcome {
  /** The code of a refusal, or 'mounted'. */
  readonly what: string;
  readonly ms: number;
}

/** Mounts each as a file, and reads what it shows to the end. */
function tryFiles(paths: readonly string[]): Promise<Outcome[]> {
  return actor.do(
    ({ client, file, fs }, { address, paths, objects }) => {
      const connection = client.connect({ address, timeoutMs: 60_000 });
      const store = file.openPath(objects, file.O_RDONLY | file.O_DIRECTORY);
      /** Reads everything below: errors are the image's own affair, an end is not. */
      const readAll = (path: string, left: { count: number }): void => {
        left.count -= 1;
        if (left.count < 0) throw new Error('the mount does not end');
        try {
          const status = fs.lstatSync(path);
          if (status.isSymbolicLink()) fs.readlinkSync(path);
          if (status.isFile() && status.size < 1e6) fs.readFileSync(path);
          if (status.isDirectory())
            for (const name of fs.readdirSync(path, { encoding: 'buffer' })) readAll(`${path}/${name.toString('latin1')}`, left);
        } catch (error) {
          if ((error as { code?: string }).code === undefined) throw error;
        }
      };
      const attempt = (path: string): string => {
        const fd = file.openPath(path, file.O_RDONLY);
        let received: OwnedFd | undefined;
        try {
          received = connection.mountFile(fd, [store]).mount;
        } catch (error) {
          return (error as { code?: string }).code ?? String(error);
        } finally {
          fd.close();
        }
        readAll(`/proc/self/fd/${received.raw}`, { count: 20_000 });
        received.close();
        return 'mounted';
      };
      const outcomes = paths.map((path) => {
        const started = performance.now();
        return { what: attempt(path), ms: performance.now() - started };
      });
      store.close();
      connection.close();
      return outcomes;
    },
    { address: daemon.address, paths, objects: join(repository, 'objects') },
  );
}

function requireQuick(outcomes: readonly Outcome[]): void {
  const slowest = Math.max(...outcomes.map(({ ms }) => ms));
  assert.ok(slowest < MAX_MS, `an answer took ${slowest.toFixed(0)} ms`);
}

test(
  'images that the readers refuse are a BadImage, in time, and the kernel never sees them',
  { timeout: 300_000 * PATIENCE },
  async () => {
    const refused = samples.filter((sample) => sample.isRefused);
    assert.ok(refused.length > EACH, `only ${refused.length} of ${samples.length} samples are refused: the damage is too small`);
    const memory = Number.parseInt(readStatus(daemon.pid, 'VmRSS'), 10);
    let outcomes: Outcome[] = [];
    const calls = await imageCallsDuring(daemon.pid, async () => {
      outcomes = await tryFiles(refused.map(({ path }) => path));
    });
    assert.deepEqual([...new Set(outcomes.map(({ what }) => what))], ['BadImage']);
    assert.deepEqual(calls, []);
    requireQuick(outcomes);
    const grown = Number.parseInt(readStatus(daemon.pid, 'VmRSS'), 10) - memory;
    assert.ok(grown < MAX_GROWTH, `the service grew by ${grown} KiB`);
  },
);

test(
  'damaged images that the readers take are mounted and read to the end, or refused by the kernel',
  { timeout: 300_000 * PATIENCE },
  async () => {
    const taken = samples.filter((sample) => !sample.isRefused);
    const outcomes = await tryFiles(taken.map(({ path }) => path));
    assert.ok(
      outcomes.some(({ what }) => what === 'mounted'),
      'no damage left an image that can be read',
    );
    assert.deepEqual(
      outcomes.filter(({ what }) => what !== 'mounted' && what !== 'BadImage'),
      [],
    );
    requireQuick(outcomes);
  },
);

test('the same in a repository, by digest, mounted and checked', async () => {
  const stored = samples.slice(0, 20);
  const outcomes = await actor.do(
    ({ client }, { address, digests }) => {
      const connection = client.connect({ address });
      const attempt = (act: () => string): string => {
        try {
          return act();
        } catch (error) {
          return (error as { code?: string }).code ?? String(error);
        }
      };
      const all = digests.map((digest) => [
        attempt(() => (connection.mountImage(digest).mount.close(), 'mounted')),
        attempt(() => connection.checkImage(digest).verdict),
      ]);
      connection.close();
      return all;
    },
    { address: daemon.address, digests: stored.map(({ digest }) => digest) },
  );
  for (const [index, { isRefused }] of stored.entries()) {
    const [mounted, checked] = outcomes[index]!;
    if (isRefused) assert.deepEqual([mounted, checked], ['BadImage', 'BadImage']);
    else assert.ok(['mounted', 'BadImage'].includes(mounted!) && checked === 'allow', `${mounted}, ${checked}`);
  }
});

test('after all of it the service is whole: no thread died, and a sound image is mounted', async () => {
  assert.ok(
    !daemon.stderr().includes('a worker thread died') && !daemon.stderr().includes('internal error'),
    daemon.stderr().slice(-2000),
  );
  const sound = join(scratch.path, 'sound.cfs');
  writeFileSync(sound, composefsOf(['/file 3 100644 1 0 0 0 0.0 - abc -']));
  chmodSync(sound, 0o644);
  daemon.writePolicy(policyText({ digests: [digestOfBytes(readFileSync(sound))], repositories: { [repository]: 'trusted' } }));
  daemon.process.kill('SIGHUP');
  await daemon.eventually('the policy is read', () => daemon.stderr().includes('policy read again'));
  assert.deepEqual(
    (await tryFiles([sound])).map(({ what }) => what),
    ['mounted'],
  );
});
