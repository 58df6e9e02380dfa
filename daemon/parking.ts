// Staging and parked mount namespaces, one pair for each user namespace, kept while they are in use and a little longer.
import { randomUUID } from 'node:crypto';
import { spawn } from 'node:child_process';

import { OwnedFd } from '../core/kernel/fd.js';
import { sameInode, statFd } from '../core/kernel/stat.js';
import { RequestError } from '../core/wire/errors.js';
import type { BuiltMount } from './build-mount.js';
import type { HoldJob, NewStageJob } from './worker/jobs.js';
import type { WorkerPool } from './worker/pool.js';

const HELPER_TIMEOUT = 5_000;
const LOCK_TIMEOUT = 10_000;
const IDLE_LIFETIME = 60_000;
const MAX_PAIRS = 256;
const MAX_PAIRS_PER_USER = 16;

interface Pair {
  readonly userns: OwnedFd;
  readonly staging: OwnedFd;
  readonly stagingDirectory: OwnedFd;
  readonly parked: OwnedFd;
  readonly parkedDirectory: OwnedFd;
}

interface Entry {
  readonly user: number;
  readonly pair: Promise<Pair>;
  /** Jobs that use the pair's descriptors, hanging ones included. */
  uses: number;
  lastUse: number;
}

export interface Parking {
  /** Takes a detached mount, which it closes, and returns a detached clone whose flags the user namespace's owner cannot clear. */
  lock(built: BuiltMount, userns: OwnedFd, user: number): Promise<OwnedFd>;
  /** Namespace pairs that are kept now. */
  count(): number;
  /** Drops the pairs that nobody uses. */
  sweep(olderThanMs: number): void;
  close(): void;
}

function closePair(pair: Pair): void {
  for (const fd of Object.values(pair) as OwnedFd[]) fd.close();
}

/** Runs a step; the descriptors do not outlive its failure. */
function orClose<T>(fds: readonly OwnedFd[], step: () => T): T {
  try {
    return step();
  } catch (error) {
    for (const fd of fds) fd.close();
    throw error;
  }
}

async function withTimeout<T>(promise: Promise<T>, milliseconds: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new RequestError('Timeout', 'your user namespace did not let its mount namespace be made in time')),
      milliseconds,
    );
  });
  try {
    return await Promise.race([promise, expired]);
  } finally {
    clearTimeout(timer);
  }
}

/** The helper process, from the moment the parked namespace stands until it is ended. */
interface Helper {
  readonly pid: number;
  readonly isAlive: () => boolean;
  end(): void;
}

async function startHelper(program: string, staging: OwnedFd, userns: OwnedFd): Promise<Helper> {
  const child = spawn(program, [], { stdio: ['pipe', 'pipe', 'ignore', staging.raw, userns.raw], env: {}, cwd: '/' });
  const end = (): void => {
    child.kill('SIGKILL');
    child.stdin?.destroy(); // not there if the process could not be started
    child.stdout?.destroy();
  };
  const stands = new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.stdout?.once('data', () => resolve());
    child.once('exit', (code) =>
      reject(new RequestError('BadUserNamespace', `your user namespace refused a mount namespace (step ${code ?? 'unknown'})`)),
    );
  });
  try {
    await withTimeout(stands, HELPER_TIMEOUT);
    return { pid: child.pid!, isAlive: () => child.exitCode === null && child.signalCode === null, end };
  } catch (error) {
    end();
    throw error;
  }
}

/** `program`: path of the helper (core/kernel/park.c). */
export function createParking(workers: WorkerPool, program: string): Parking {
  const entries = new Map<string, Entry>();

  async function runStageJob(job: NewStageJob | HoldJob, user: number): Promise<{ namespace: OwnedFd; directory: OwnedFd }> {
    const { namespace, directory } = await workers.run(job, { user, timeoutMs: LOCK_TIMEOUT });
    return { namespace: OwnedFd.adopt(namespace), directory: OwnedFd.adopt(directory) };
  }

  async function park(staging: OwnedFd, userns: OwnedFd, user: number): Promise<{ namespace: OwnedFd; directory: OwnedFd }> {
    const helper = await startHelper(program, staging, userns);
    try {
      const parked = await runStageJob({ kind: 'hold', pid: helper.pid }, user);
      // Dead means reaped, and reaped means that the pid may have been somebody else's already.
      if (helper.isAlive()) return parked;
      parked.namespace.close();
      parked.directory.close();
      throw new RequestError('Failed', 'a process of the service was killed in your user namespace');
    } finally {
      helper.end();
    }
  }

  async function makePair(userns: OwnedFd, user: number): Promise<Pair> {
    const { namespace: staging, directory: stagingDirectory } = await runStageJob({ kind: 'new-stage' }, user);
    try {
      const { namespace: parked, directory: parkedDirectory } = await park(staging, userns, user);
      const pair = { userns, staging, stagingDirectory, parked, parkedDirectory };
      // The namespace is its owner's from the moment it stands: what is at /stage there must be the stage we made.
      return orClose([parked, parkedDirectory], () => {
        if (sameInode(statFd(parkedDirectory), statFd(stagingDirectory))) return pair;
        throw new RequestError('Failed', 'something else is mounted in the namespace made for you');
      });
    } catch (error) {
      staging.close();
      stagingDirectory.close();
      throw error;
    }
  }

  function drop(key: string): void {
    const entry = entries.get(key);
    if (!entry) return;
    entries.delete(key);
    entry.pair.then(closePair, () => {});
  }

  const unused = (user?: number): [string, Entry][] =>
    [...entries]
      .filter(([, entry]) => entry.uses === 0 && (user === undefined || entry.user === user))
      .sort(([, a], [, b]) => a.lastUse - b.lastUse);

  function makeRoom(user: number): void {
    const own = [...entries.values()].filter((entry) => entry.user === user).length;
    if (own >= MAX_PAIRS_PER_USER) {
      const oldest = unused(user)[0];
      if (!oldest) throw new RequestError('QuotaExceeded', 'too many of your user namespaces mount at once; try again');
      drop(oldest[0]);
    }
    if (entries.size >= MAX_PAIRS) {
      const oldest = unused()[0];
      if (!oldest) throw new RequestError('QuotaExceeded', 'too many user namespaces mount at once; try again');
      drop(oldest[0]);
    }
  }

  function pairFor(userns: OwnedFd, user: number): Entry {
    const key = statFd(userns).inode.toString();
    const known = entries.get(key);
    if (known) return known;
    makeRoom(user);
    const held = userns.duplicate(); // keeps the inode number from being given to another namespace
    const pair = makePair(held, user);
    const entry: Entry = { user, pair, uses: 0, lastUse: Date.now() };
    entries.set(key, entry);
    pair.catch(() => {
      held.close();
      if (entries.get(key) === entry) entries.delete(key);
    });
    return entry;
  }

  async function lockIn(entry: Entry, { mount, spare }: BuiltMount, user: number): Promise<OwnedFd> {
    const pair = await entry.pair;
    const built = statFd(mount);
    entry.uses++; // given back by onReleased, which for a hanging job may be long after the time-out
    const result = await workers.run(
      {
        kind: 'lock',
        mount: mount.raw,
        staging: pair.staging.raw,
        stagingDirectory: pair.stagingDirectory.raw,
        parked: pair.parked.raw,
        parkedDirectory: pair.parkedDirectory.raw,
        name: randomUUID(),
      },
      { user, timeoutMs: LOCK_TIMEOUT, closeAfter: spare ? [mount, spare] : [mount], onReleased: () => void entry.uses-- },
    );
    const locked = OwnedFd.adopt(result.mount);
    // The parked namespace is its owner's ground: hand out nothing but a clone of the very root that was built.
    return orClose([locked], () => {
      if (sameInode(statFd(locked), built)) return locked;
      throw new RequestError('Failed', 'something else was mounted over your mount while it was made');
    });
  }

  const parking: Parking = {
    async lock(built, userns, user) {
      let entry: Entry | undefined;
      try {
        entry = pairFor(userns, user);
        entry.uses++;
        return await lockIn(entry, built, user);
      } finally {
        // No more than a matter of form where the thread has taken them over.
        built.mount.close();
        built.spare?.close();
        if (entry) {
          entry.uses--;
          entry.lastUse = Date.now();
        }
      }
    },
    count: () => entries.size,
    sweep(olderThanMs) {
      const limit = Date.now() - olderThanMs;
      for (const [key, entry] of unused()) if (entry.lastUse <= limit) drop(key);
    },
    close() {
      clearInterval(sweeper);
      for (const key of [...entries.keys()]) drop(key);
    },
  };
  const sweeper = setInterval(() => parking.sweep(IDLE_LIFETIME), IDLE_LIFETIME / 4);
  sweeper.unref();
  return parking;
}
