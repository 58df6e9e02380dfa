// The daemon's side of the worker threads. A thread that hangs cannot be ended, so it is left to itself: its user gets
// no further thread until it comes back, and everybody else gets another one.
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

import { SyscallError } from '../../core/kernel/error.js';
import type { OwnedFd } from '../../core/kernel/fd.js';
import { RequestError } from '../../core/wire/errors.js';
import type { Answer, Job, JobFailure, Order, Results } from './jobs.js';

const MAX_THREADS = 8;
/** Of these threads, how many may read files, and how many close descriptors, at a time: the rest stay free for mounts. */
const MAX_JOBS: Readonly<Record<JobClass, number>> = { file: 4, close: 2, stage: MAX_THREADS };
const MAX_ABANDONED = 32;
const MAX_QUEUED_PER_USER = 64;
/** A thread that nobody needed for so long ends, but one is always kept. Milliseconds. */
const SPARE_LIFETIME = 30_000;
/**
 * Heap of a thread in MiB. The tree of a composefs image of 400,000 files takes 700 when it is compared with its canonical form, 50 when its facts alone are found. A
 * thread that needs more dies, and nothing else does.
 */
const MAX_HEAP = 1024;
/** How long the end waits for threads that are at work. Milliseconds. */
const END_TIMEOUT = 2_000;
/** How long a job may wait for a thread. Milliseconds. */
const QUEUE_TIMEOUT = 30_000;

/** Who pays for a thread while it works or hangs: a host uid, or a connection of the bus whose user is not known yet. */
export type Payer = number | string;

export interface JobOptions {
  readonly user: Payer;
  readonly timeoutMs: number;
  /**
   * Descriptors that the job alone needs. The thread closes them last, after its answer: closing a detached mount waits for other CPUs,
   * and nobody need wait for that. A job that never starts has them closed at once.
   */
  readonly closeAfter?: readonly OwnedFd[];
  /** Runs when the thread is done with the job's descriptors, late answers included. */
  readonly onReleased?: () => void;
  /** Runs when the time is over and the thread is not. */
  readonly onLate?: () => void;
}

interface Task extends JobOptions {
  readonly job: Job;
  readonly resolve: (result: never) => void;
  readonly reject: (error: Error) => void;
}

interface Thread {
  readonly worker: Worker;
  ready: boolean;
  task: Task | undefined;
  timer: NodeJS.Timeout | undefined;
  abandoned: boolean;
  idleSince: number;
}

export interface WorkerPool {
  run<J extends Job>(job: J, options: JobOptions): Promise<Results[J['kind']]>;
  /** Threads alive, and those among them that hang. */
  count(): { threads: number; abandoned: number };
  close(): Promise<void>;
}

/** Closes what a late or unwanted answer brought. */
export type Discard = (kind: Job['kind'], result: Results[keyof Results]) => void;

/** What hangs in one class of jobs does not stop the others of the same user. */
type JobClass = 'file' | 'close' | 'stage';

const CLASS: Readonly<Record<Job['kind'], JobClass>> = {
  hash: 'file',
  inspect: 'file',
  facts: 'file',
  objects: 'file',
  close: 'close',
  'new-stage': 'stage',
  hold: 'stage',
  join: 'stage',
  lock: 'stage',
};

function classOf({ kind }: Job): JobClass {
  return CLASS[kind];
}

/** Jobs that may need most of a thread's memory: one at a time. */
function isLarge(job: Job): boolean {
  return job.kind === 'facts' && job.canonical;
}

function letGo(task: Task): void {
  for (const fd of task.closeAfter ?? []) fd.close();
  task.onReleased?.();
}

function drop(task: Task, error: Error): void {
  letGo(task);
  task.reject(error);
}

function asError(failure: JobFailure): Error {
  if (failure.syscall !== undefined && failure.errno !== undefined)
    return new SyscallError(failure.syscall, failure.errno, failure.log);
  return new Error(failure.message);
}

/** Starts the pool and waits for its first thread. `script` is the worker's entry point; `onBroken` is told of a thread that died. */
export async function startWorkers(script: string, discard: Discard, onBroken: (error: Error) => void): Promise<WorkerPool> {
  const threads = new Set<Thread>();
  const queue: Task[] = [];
  let closing = false;

  const usable = (): Thread[] => [...threads].filter((thread) => !thread.abandoned);

  /** One file job and one mount at a time for each user, so that one user's slow or hanging jobs never hold all threads. */
  function mayStart({ job, user }: Task): boolean {
    const same = [...threads].filter(({ task }) => task && classOf(task.job) === classOf(job));
    const running = same.filter((thread) => !thread.abandoned);
    if (isLarge(job) && running.some(({ task }) => task && isLarge(task.job))) return false;
    return running.length < MAX_JOBS[classOf(job)] && !same.some(({ task }) => task?.user === user);
  }

  function finish(thread: Thread): Task | undefined {
    const task = thread.task;
    clearTimeout(thread.timer);
    thread.task = undefined;
    thread.idleSince = Date.now();
    if (task) letGo(task);
    return task;
  }

  function settle(task: Task, answer: Answer, abandoned: boolean): void {
    if ('failure' in answer) task.reject(asError(answer.failure));
    else if ('ok' in answer && abandoned) discard(task.job.kind, answer.ok);
    else if ('ok' in answer) task.resolve(answer.ok as never);
  }

  function onAnswer(thread: Thread, answer: Answer): void {
    if ('ready' in answer) thread.ready = true;
    else if ('done' in answer) {
      finish(thread);
      thread.abandoned = false;
      if (answer.grown) void endThread(thread);
    } else if (thread.task) settle(thread.task, answer, thread.abandoned);
    dispatch();
  }

  function spawn(): Thread {
    const worker = new Worker(script, { stdin: false, env: {}, resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP } });
    const thread: Thread = { worker, ready: false, task: undefined, timer: undefined, abandoned: false, idleSince: Date.now() };
    threads.add(thread);
    worker.on('message', (answer: Answer) => onAnswer(thread, answer));
    worker.on('error', (error) => {
      thread.ready = false; // it is still there until it has exited, but takes no more orders
      onBroken(error);
      finish(thread)?.reject(error);
    });
    worker.on('exit', () => {
      threads.delete(thread);
      finish(thread)?.reject(new Error('a worker thread ended'));
      dispatch();
    });
    return thread;
  }

  function abandon(thread: Thread): void {
    thread.abandoned = true;
    thread.task!.onLate?.();
    thread.task!.reject(new RequestError('Timeout', 'a file system or namespace of yours did not answer in time'));
    dispatch();
  }

  function assign(thread: Thread, task: Task): void {
    thread.task = task;
    thread.timer = setTimeout(() => abandon(thread), task.timeoutMs);
    const close = (task.closeAfter ?? []).map((fd) => fd.release());
    thread.worker.postMessage({ job: task.job, close } satisfies Order);
  }

  function dispatch(): void {
    if (closing) return;
    for (const task of [...queue]) {
      const thread = mayStart(task) ? usable().find((candidate) => candidate.ready && !candidate.task) : undefined;
      if (!thread) continue;
      queue.splice(queue.indexOf(task), 1);
      assign(thread, task);
    }
    const coming = usable().filter((thread) => !thread.ready).length;
    if (queue.filter(mayStart).length > coming && usable().length < MAX_THREADS) spawn();
  }

  function refuseHanging({ user, job }: Task): void {
    const hanging = [...threads].filter((thread) => thread.abandoned);
    if (hanging.some(({ task }) => task?.user === user && classOf(task.job) === classOf(job))) {
      throw new RequestError('Timeout', 'an earlier request of yours still waits for a file system that does not answer');
    }
    if (classOf(job) === 'close') return; // refusing would close it here
    if (hanging.length >= MAX_ABANDONED) throw new RequestError('QuotaExceeded', 'too many requests hang; try again later');
    if (queue.filter((task) => task.user === user).length >= MAX_QUEUED_PER_USER) {
      throw new RequestError('QuotaExceeded', 'too many requests of yours are waiting; try again when they are done');
    }
  }

  function enqueue(task: Task): void {
    try {
      refuseHanging(task);
    } catch (error) {
      return drop(task, error as Error);
    }
    queue.push(task);
    dispatch();
    if (!queue.includes(task) || task.job.kind === 'close') return;
    setTimeout(() => {
      if (!queue.includes(task)) return;
      queue.splice(queue.indexOf(task), 1);
      drop(task, new RequestError('Timeout', 'the service is busy; try again'));
    }, QUEUE_TIMEOUT).unref();
  }

  /** By its own hand: terminate() leaves open what it holds, and aborts the process if the thread is just loading native code. */
  function endThread(thread: Thread): Promise<void> {
    thread.ready = false;
    thread.worker.postMessage('end' satisfies Order);
    return new Promise((resolve) => thread.worker.once('exit', () => resolve()));
  }

  const sweeper = setInterval(() => {
    const idle = usable().filter((thread) => thread.ready && !thread.task && Date.now() - thread.idleSince > SPARE_LIFETIME);
    if (usable().length > 1 && idle[0]) void endThread(idle[0]);
  }, SPARE_LIFETIME / 3);
  sweeper.unref();

  const first = spawn();
  await new Promise<void>((resolve, reject) => {
    first.worker.once('message', () => resolve());
    first.worker.once('error', reject);
  });

  return {
    run: (job, options) => new Promise((resolve, reject) => enqueue({ ...options, job, resolve, reject })),
    count: () => ({ threads: threads.size, abandoned: [...threads].filter((thread) => thread.abandoned).length }),
    async close() {
      closing = true;
      clearInterval(sweeper);
      // Descriptors that were to be closed elsewhere are closed by the end of the process.
      for (const task of queue.splice(0).filter(({ job }) => job.kind !== 'close'))
        drop(task, new RequestError('Failed', 'the service is stopping'));
      await Promise.race([Promise.all(usable().map(endThread)), sleep(END_TIMEOUT)]);
    },
  };
}
