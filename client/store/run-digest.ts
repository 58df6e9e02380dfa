// cfsctl digest: as `fsverity digest`, on all processors where a file is long.
import { statSync } from 'node:fs';
import { type VerityAlgorithm, type VerityDigest, verityDigestFromBytes } from '../../core/image/digest.js';
import type { OwnedFd } from '../../core/kernel/fd.js';
import { O_RDONLY, openPath } from '../../core/kernel/file.js';
import { statOpenEntry } from '../../core/kernel/stat.js';
import { RequestError } from '../../core/wire/errors.js';
import { escapeText, formatJson, print } from '../output.js';
import { showProgress } from '../progress.js';
import { RANGE, createFileHasher } from './file-hasher.js';
import type { Job } from './file-pool.js';
import type { JobSource } from './file-queue.js';
import { longFileOf } from './long-file.js';
import { atPath, changedError, orCannotOpen } from './path-error.js';
import type { FileReader, FileTask } from './scanned-file.js';
import { type ThreadOptions, type Threads, createThreads, doJobs } from './threads.js';
import { workerScript } from './worker-script.js';
import { fileReaderOf } from './work.js';

export async function runDigest(paths: readonly string[], algorithm: VerityAlgorithm, json: boolean): Promise<void> {
  const rows: object[] = [];
  await digestFiles(paths, algorithm, { workerScript: workerScript() }, ({ path, digest, size }) => {
    if (!json) print(`${digest} ${escapeText(path)}\n`);
    rows.push({ file: path, digest, size });
  });
  if (json) print(formatJson(rows));
}

export interface FileDigest {
  readonly path: string;
  readonly digest: VerityDigest;
  readonly size: number;
}

/** Computes the digests of regular files one after the other. Throws `RequestError` if one cannot be read, or changes meanwhile. */
export async function digestFiles(
  paths: readonly string[],
  algorithm: VerityAlgorithm,
  options: ThreadOptions,
  each: (result: FileDigest) => void,
): Promise<void> {
  // Nothing is scanned: files are opened here, by their paths.
  const surroundings = { root: 0, shown: '', algorithm, store: undefined, xattrs: { skipXattrs: true } };
  const reader = fileReaderOf(surroundings, createFileHasher(algorithm), undefined);
  const queue = { jobs: [] as Job[], found: { files: 0, bytes: 0 }, ready: () => queue.jobs };
  const threads = createThreads(surroundings, queue, options);
  try {
    for (const path of paths) {
      const { file, task } = openRegular(path);
      using _ = file;
      queue.found.files += 1;
      queue.found.bytes += task.size;
      const digest = task.size <= RANGE ? hashShort(reader, file, task) : await hashLong({ reader, queue, threads }, file, task);
      each({ path, digest: verityDigestFromBytes(algorithm, digest), size: task.size });
    }
  } finally {
    await threads.close();
  }
}

function hashShort({ hasher }: FileReader, file: OwnedFd, { path, size, state }: FileTask): Uint8Array {
  const whole = atPath(path, () => hasher.hashWhole({ file, size }));
  if (whole === undefined || statOpenEntry(file).state !== state) throw changedError(path);
  return whole.digest;
}

interface Hands {
  readonly reader: FileReader;
  readonly queue: JobSource & { readonly jobs: Job[] };
  readonly threads: Threads;
}

async function hashLong({ reader, queue, threads }: Hands, file: OwnedFd, task: FileTask): Promise<Uint8Array> {
  let digest = '';
  using long = longFileOf(reader, file.duplicate(), task);
  using progress = showProgress('hashing', task.size);
  const enqueue = ({ work, done }: Job): void => {
    queue.jobs.push({
      work,
      done(result) {
        done(result);
        progress.advance(RANGE);
      },
    });
  };
  long.start(enqueue, (result) => (digest = result.digest ?? ''));
  await doJobs(reader, queue, threads, () => undefined);
  return Buffer.from(digest, 'latin1');
}

/** Opens what is a regular file, also through symlinks. Throws `RequestError` BadRequest. */
function openRegular(path: string): { file: OwnedFd; task: FileTask } {
  return orCannotOpen(path, () => {
    // To open a FIFO could block, and to open a device could do something.
    if (!statSync(path).isFile()) throw new RequestError('BadRequest', `${path} is not a regular file`);
    const file = openPath(path, O_RDONLY);
    const { size, state } = statOpenEntry(file);
    return { file, task: { path: Buffer.from(path).toString('latin1'), size: Number(size), state } };
  });
}
