// The files of a scan that are still to be read, as jobs of a handy size.
import type { VerityAlgorithm } from '../../core/image/digest.js';
import type { Node } from '../../core/image/tree.js';
import { O_NONBLOCK, O_RDONLY, openEntry } from '../../core/kernel/file.js';
import { RANGE } from './file-hasher.js';
import type { Job } from './file-pool.js';
import { type LongFile, longFileOf } from './long-file.js';
import { atPath } from './path-error.js';
import type { ScannedFile } from './scan-tree.js';
import { type FileReader, type FileResult, type FileTask, completeNode, openScanned, readScannedFile } from './scanned-file.js';

/** A job ends with this many files or bytes: some milliseconds of work. */
const JOB = { files: 64, bytes: 4 << 20 };
/** Long files are opened one after the other, when no more jobs than this are there. */
const FEW_JOBS = 4;
/** linux/limits.h PATH_MAX is 4096: longer paths can be opened from their directory only. */
const LONGEST_PATH = 4000;

/** What threads take jobs from. */
export interface JobSource {
  /** Jobs that can be done, by any thread; whoever does one takes it out. The array stays the same. */
  ready(): Job[];
  readonly found: { readonly files: number; readonly bytes: number };
}

export interface FileQueue extends JobSource, Disposable {
  /** Takes a file of the scan, whose node is completed when its job is done. True if there is a new job. */
  add(file: ScannedFile): boolean;
  /** No more files will come. */
  end(): void;
  readonly read: { files: number; bytes: number };
}

interface Pending {
  readonly task: FileTask;
  readonly node: Node;
}

export function createFileQueue(reader: FileReader, algorithm: VerityAlgorithm): FileQueue {
  const jobs: Job[] = [];
  const long: Pending[] = [];
  const opened = new Set<LongFile>();
  let batch: Pending[] = [];
  let batchBytes = 0;
  const found = { files: 0, bytes: 0 };
  const read = { files: 0, bytes: 0 };

  const complete = ({ task, node }: Pending, result: FileResult): void => {
    completeNode(node, result, algorithm);
    read.files += 1;
    read.bytes += task.size;
  };
  const endBatch = (): void => {
    const pending = batch;
    if (pending.length === 0) return;
    batch = [];
    batchBytes = 0;
    jobs.push({
      work: { kind: 'files', tasks: pending.map(({ task }) => task) },
      done(result) {
        if (result.kind === 'files') result.results.forEach((each, index) => complete(pending[index] as Pending, each));
      },
    });
  };
  const openNext = (pending: Pending): void => {
    const opening = atPath(reader.shown + pending.task.path, () => openScanned(reader, pending.task));
    const file = longFileOf(reader, opening, pending.task);
    opened.add(file);
    const enqueue = (job: Job): void => void jobs.push(job);
    file.start(enqueue, (result) => {
      opened.delete(file);
      complete(pending, result);
    });
  };

  return {
    found,
    read,
    add({ directory, name, path, status, node }) {
      const pending = { task: { path, size: Number(status.size), state: status.state }, node };
      found.files += 1;
      found.bytes += pending.task.size;
      if (path.length > LONGEST_PATH) {
        complete(
          pending,
          readScannedFile(reader, pending.task, () => openEntry(directory, name, O_RDONLY | O_NONBLOCK)),
        );
        return false;
      }
      if (pending.task.size > RANGE) return long.push(pending) > 0;
      batch.push(pending);
      batchBytes += pending.task.size;
      const full = batch.length >= JOB.files || batchBytes >= JOB.bytes;
      if (full) endBatch();
      return full;
    },
    end: endBatch,
    ready() {
      while (jobs.length < FEW_JOBS && long.length > 0) openNext(long.pop() as Pending);
      return jobs;
    },
    [Symbol.dispose]() {
      for (const file of opened) file[Symbol.dispose]();
    },
  };
}
