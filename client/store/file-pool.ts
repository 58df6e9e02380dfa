// The other threads of a scan. Whoever scans hands them work when they want some and works on meanwhile; without them it does all of it.
import { MessageChannel, type MessagePort, Worker, receiveMessageOnPort } from 'node:worker_threads';
import { RequestError } from '../../core/wire/errors.js';
import type { ErrorCode } from '../../core/wire/errors.js';
import type { WrittenObjects } from './object-store.js';
import type { Done, Surroundings, Work } from './work.js';

/** What is said to a thread; `sync` when all its objects are to be durable. */
export type Order = Work | { readonly kind: 'sync' };

/** What it says: that it is there, and one answer to each order, in their order. A failure without a code is a fault of ours. */
export type Answer =
  | Done
  | { readonly kind: 'ready' }
  | { readonly kind: 'synced'; readonly written: WrittenObjects }
  | {
      readonly kind: 'failed';
      readonly code: ErrorCode | undefined;
      readonly message: string;
      readonly hint: string | undefined;
    };

/** A piece of work and what to do with the result, here. */
export interface Job {
  readonly work: Work;
  done(result: Done): void;
}

/** Jobs a thread has at once, so that it need not wait for the next. */
const DEPTH = 2;

export interface FilePool {
  /** Takes in what the threads have done, and hands out jobs from the end of `jobs` while they want some. Throws the error of a job that failed. */
  exchange(jobs: Job[]): void;
  /** Waits for the threads to have done something, and takes it in. Only if `isBusy`. */
  wait(): Promise<void>;
  isBusy(): boolean;
  /** Has the threads' objects made durable, and returns how many those were. When no job is open. */
  sync(): Promise<WrittenObjects>;
  close(): Promise<void>;
}

interface Thread {
  readonly port: MessagePort;
  readonly exit: Promise<void>;
  state: 'starting' | 'ready' | 'gone';
  /** What to do with the answers that are still to come, in their order. */
  readonly expected: ((answer: Answer) => void)[];
}

/** Starts threads that run the built file-worker.ts. One that does not come up is none; one that goes away later is an error. */
export function startFilePool(script: string | URL, count: number, surroundings: Surroundings): FilePool {
  /** What the event loop brought. Its handlers throw nothing, because nobody would catch it. */
  const arrived: [Thread, Answer][] = [];
  let wake = (): void => undefined;
  const threads = Array.from({ length: count }, () => {
    const thread = startThread(script, surroundings, () => wake());
    thread.port.on('message', (answer: Answer) => {
      arrived.push([thread, answer]);
      wake();
    });
    return thread;
  });

  const takeIn = (): void => {
    for (let next = arrived.shift(); next !== undefined; next = arrived.shift()) settle(...next);
    for (const thread of threads) {
      for (let got = receiveMessageOnPort(thread.port); got !== undefined; got = receiveMessageOnPort(thread.port)) {
        settle(thread, got.message as Answer);
      }
      if (thread.state === 'gone' && thread.expected.length > 0)
        throw new Error('a thread that reads files ended before its time');
    }
  };
  const isBusy = (): boolean => threads.some(({ expected }) => expected.length > 0);
  const wait = async (): Promise<void> => {
    // What has come already wakes nobody any more.
    takeIn();
    if (!isBusy()) return;
    await new Promise<void>((resolve) => (wake = resolve));
    takeIn();
  };

  return {
    isBusy,
    wait,
    exchange(jobs) {
      takeIn();
      for (const thread of threads) {
        while (thread.state === 'ready' && thread.expected.length < DEPTH && jobs.length > 0) giveJob(thread, jobs.pop() as Job);
      }
    },
    async sync() {
      const written = { objects: 0, bytes: 0 };
      for (const thread of threads.filter(({ state }) => state !== 'starting')) {
        send(thread, { kind: 'sync' }, (answer) => {
          if (answer.kind !== 'synced') throw new Error(`a thread answered ${answer.kind}`);
          written.objects += answer.written.objects;
          written.bytes += answer.written.bytes;
        });
      }
      while (isBusy()) await wait();
      return written;
    },
    async close() {
      for (const { port } of threads) port.postMessage('end');
      await Promise.all(threads.map(({ exit }) => exit));
      for (const { port } of threads) port.close();
    },
  };
}

function startThread(script: string | URL, surroundings: Surroundings, onExit: () => void): Thread {
  const { port1, port2 } = new MessageChannel();
  const workerData = { port: port2, surroundings };
  const worker = new Worker(script, { workerData, transferList: [port2], stdin: false });
  // Its error says no more than that it ended.
  worker.on('error', () => undefined);
  const exit = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  const thread: Thread = { port: port1, exit, state: 'starting', expected: [] };
  worker.once('exit', () => {
    thread.state = 'gone';
    onExit();
  });
  return thread;
}

function settle(thread: Thread, answer: Answer): void {
  if (answer.kind === 'ready') {
    thread.state = 'ready';
    return;
  }
  const take = thread.expected.shift();
  if (answer.kind !== 'failed') return take?.(answer);
  if (answer.code === undefined) throw new Error(answer.message);
  throw new RequestError(answer.code, answer.message, { hint: answer.hint });
}

function giveJob(thread: Thread, { work, done }: Job): void {
  send(thread, work, (answer) => {
    if (answer.kind !== 'files' && answer.kind !== 'range' && answer.kind !== 'bytes')
      throw new Error(`a thread answered ${answer.kind}`);
    done(answer);
  });
}

function send(thread: Thread, order: Order, take: (answer: Answer) => void): void {
  thread.port.postMessage(order, order.kind === 'bytes' ? [order.bytes.buffer] : []);
  thread.expected.push(take);
}
