import { availableParallelism } from 'node:os';
import { type FilePool, startFilePool } from './file-pool.js';
import type { JobSource } from './file-queue.js';
import type { WrittenObjects } from './object-store.js';
import type { FileReader } from './scanned-file.js';
import { type Surroundings, doWork } from './work.js';

export interface ThreadOptions {
  /** The built file-worker.ts, for reading on all processors; without it one is used. */
  readonly workerScript?: string | URL | undefined;
  /** At most so many, the calling one among them; default is the number of processors. */
  readonly threads?: number | undefined;
}

/** With more, the work of the calling thread is what takes the time. */
const MAX_THREADS = 4;
/** So much is read here before another thread would have started. */
const WORTH_A_THREAD = { files: 256, bytes: 16 << 20 };

/** The threads that help with what there is to do: none until that is worth it. */
export interface Threads {
  /** Takes in what they have done, and lets them have jobs of the queue. */
  exchange(): void;
  areBusy(): boolean;
  wait(): Promise<void>;
  /** Their objects become durable. */
  sync(): Promise<WrittenObjects>;
  close(): Promise<void>;
}

export function createThreads(surroundings: Surroundings, queue: JobSource, options: ThreadOptions): Threads {
  const { workerScript, threads = availableParallelism() } = options;
  const count = Math.min(threads, MAX_THREADS) - 1;
  let pool: FilePool | undefined;
  const isWorthIt = (): boolean => queue.found.files > WORTH_A_THREAD.files || queue.found.bytes > WORTH_A_THREAD.bytes;
  return {
    exchange() {
      if (pool === undefined && workerScript !== undefined && count > 0 && isWorthIt()) {
        pool = startFilePool(workerScript, count, surroundings);
      }
      pool?.exchange(queue.ready());
    },
    areBusy: () => pool?.isBusy() === true,
    wait: async () => pool?.wait(),
    sync: async () => (await pool?.sync()) ?? { objects: 0, bytes: 0 },
    close: async () => pool?.close(),
  };
}

/** Does all jobs of a queue, here and in the threads, telling after each one done here. Throws the error of one that failed. */
export async function doJobs(reader: FileReader, queue: JobSource, threads: Threads, progressed: () => void): Promise<void> {
  for (;;) {
    threads.exchange();
    const job = queue.ready().pop();
    if (job !== undefined) job.done(doWork(reader, job.work));
    else if (threads.areBusy()) await threads.wait();
    else return;
    progressed();
  }
}
