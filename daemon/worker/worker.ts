// A thread for what may take long or hang: hashing, a caller's file system, the caller's mount namespace. It lives in an
// empty mount namespace and works on descriptors alone. Only synchronous calls see that namespace.
import { getHeapStatistics } from 'node:v8';
import { parentPort } from 'node:worker_threads';

import { SyscallError } from '../../core/kernel/error.js';
import { type Fd, OwnedFd } from '../../core/kernel/fd.js';
import { fileSystemMagic } from '../../core/kernel/stat.js';
import { measureVerity } from '../../core/kernel/verity.js';
import { copyAndHash } from './copy.js';
import type { Answer, HashJob, InspectJob, Job, JobFailure, JoinJob, LockJob, Order, Results } from './jobs.js';
import { joinLayers } from './join.js';
import { findFacts, findObjects } from './judge.js';
import {
  abandonStage,
  clearStage,
  closeBase,
  crossOver,
  goHome,
  type HeldNamespace,
  holdParked,
  leaveHostMounts,
  newStage,
  type Stage,
} from './stage.js';

const port = parentPort!;

const borrow = (raw: number): Fd => ({ raw });

function describeFailure(error: unknown): JobFailure {
  if (error instanceof SyscallError)
    return { message: error.message, syscall: error.syscall, errno: error.errno, log: error.log };
  return { message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}

/** What a job came to, and what is left to do once the daemon knows. */
interface Outcome {
  readonly ok: Results[keyof Results];
  readonly after?: () => void;
}

function hash(job: HashJob): Outcome {
  const copy = job.copy === null ? null : borrow(job.copy);
  return { ok: { digest: copyAndHash(borrow(job.file), copy, job.size, job.algorithm) } };
}

function inspect(job: InspectJob): Outcome {
  const file = borrow(job.file);
  const magic = fileSystemMagic(file);
  const verity = measureVerity(file);
  if (verity.state !== 'enabled') return { ok: { magic, verity: verity.state } };
  const digest = Buffer.from(verity.digest).toString('hex');
  return { ok: { magic, verity: 'enabled', algorithm: verity.algorithm, digest } };
}

function give({ namespace, directory }: HeldNamespace): Outcome {
  return { ok: { namespace: namespace.release(), directory: directory.release() } };
}

function join({ way, attributes, name, requireVerity, ...job }: JoinJob): Outcome {
  const layers = { name, requireVerity, erofs: borrow(job.erofs), objects: job.objects.map(borrow) };
  return { ok: { mount: joinLayers(way, layers, attributes).release() } };
}

function lock(job: LockJob): Outcome {
  const stage: Stage = {
    staging: borrow(job.staging),
    stagingDirectory: borrow(job.stagingDirectory),
    parked: borrow(job.parked),
    parkedDirectory: borrow(job.parkedDirectory),
  };
  try {
    const locked = crossOver(borrow(job.mount), stage, job.name);
    return { ok: { mount: locked.release() }, after: () => takeDown(stage, job.name) };
  } catch (error) {
    abandonStage(stage, job.name);
    throw error;
  }
}

/** The mount must not stay in the stage: it would live as long as that. What fails once is tried again from where it stopped. */
function takeDown(stage: Stage, name: string): void {
  try {
    clearStage(stage, name);
  } catch {
    abandonStage(stage, name);
  }
}

function perform(job: Job): Outcome {
  switch (job.kind) {
    case 'hash':
      return hash(job);
    case 'inspect':
      return inspect(job);
    case 'facts':
      return { ok: findFacts(borrow(job.file), job.type, job.canonical) };
    case 'objects':
      return { ok: findObjects(borrow(job.file), job.stores.map(borrow)) };
    case 'new-stage':
      return give(newStage());
    case 'hold':
      return give(holdParked(job.pid));
    case 'join':
      return join(job);
    case 'lock':
      return lock(job);
    case 'close':
      return { ok: {} };
  }
}

function answer(result: Answer): void {
  port.postMessage(result);
}

function run(job: Job): (() => void) | undefined {
  try {
    const { ok, after } = perform(job);
    answer({ ok });
    return after;
  } catch (error) {
    answer({ failure: describeFailure(error) });
    return undefined;
  }
}

/** Beyond this a thread is not worth keeping. Bytes. */
const GROWN = 64 * 2 ** 20;

function hasGrown(): boolean {
  const { total_heap_size: heap, external_memory: outside } = getHeapStatistics();
  return heap + outside > GROWN;
}

function carryOut({ job, close }: Exclude<Order, 'end'>): void {
  try {
    run(job)?.();
  } finally {
    for (const number of close) OwnedFd.adopt(number).close();
    if (job.kind === 'new-stage' || job.kind === 'lock') goHome();
  }
  // Others use no more than a buffer, however much of that waits for the garbage collector.
  answer({ done: true, grown: (job.kind === 'facts' || job.kind === 'objects') && hasGrown() });
}

leaveHostMounts();
// A thread's descriptors are the process's: they do not go with it.
process.on('exit', closeBase);
// What comes after the answer cannot fail a job any more: if it throws, the thread ends, and the pool says so.
port.on('message', (order: Order) => (order === 'end' ? process.exit() : carryOut(order)));
answer({ ready: true });
