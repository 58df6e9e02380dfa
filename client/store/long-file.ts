import type { Fd, OwnedFd } from '../../core/kernel/fd.js';
import { statOpenEntry } from '../../core/kernel/stat.js';
import { byteStringOf } from './byte-string.js';
import { RANGE } from './file-hasher.js';
import type { Job } from './file-pool.js';
import { atPath, changedError } from './path-error.js';
import type { FileReader, FileResult, FileTask } from './scanned-file.js';

/** A file of several ranges, which any thread may hash. Disposing it closes it. */
export interface LongFile extends Disposable {
  /** Starts it: gives jobs to `enqueue`, now and, if the file must be copied, when those are done. The last that is done gives the result to `done`. */
  start(enqueue: (job: Job) => void, done: (result: FileResult) => void): void;
}

/** Takes a file open for reading. Its jobs throw `RequestError` if it cannot be read or is not in the state it was met in any more. */
export function longFileOf(reader: FileReader, file: OwnedFd, task: FileTask): LongFile {
  const { store } = reader;
  const { size } = task;
  let draft = store?.clone({ file, size });

  const finish = (digest: Uint8Array, done: (result: FileResult) => void): void => {
    const xattrs = reader.xattrs.ofOpen(file);
    if (statOpenEntry(file).state !== task.state) throw changedError(reader.shown + task.path);
    if (draft !== undefined) store?.finishObject(draft, digest, size);
    draft = undefined;
    file.close();
    done({ content: undefined, digest: byteStringOf(digest), xattrs });
  };
  /** Once read through without copying: what the store has need not be written. */
  const mustCopy = (digest: Uint8Array): boolean => store !== undefined && draft === undefined && !store.has(digest, size);

  return {
    start(enqueue, done) {
      const ranges = { reader, task, enqueue };
      hashRanges(ranges, draft?.file ?? file, undefined, (digest) => {
        if (!mustCopy(digest)) return finish(digest, done);
        draft = store?.makeDraft(size);
        hashRanges(ranges, file, draft?.file, (copied) => finish(copied, done));
      });
    },
    [Symbol.dispose]() {
      draft?.[Symbol.dispose]();
      file.close();
    },
  };
}

interface Ranges {
  readonly reader: Pick<FileReader, 'shown' | 'hasher'>;
  readonly task: Pick<FileTask, 'path' | 'size'>;
  readonly enqueue: (job: Job) => void;
}

/** One job for each range; the last that is done gives the digest to `done`. */
export function hashRanges(
  { reader, task, enqueue }: Ranges,
  file: Fd,
  target: Fd | undefined,
  done: (digest: Uint8Array) => void,
): void {
  const { size } = task;
  const path = reader.shown + task.path;
  const hashes: Uint8Array[] = [];
  const count = Math.ceil(size / RANGE);
  let left = count;
  for (let index = 0; index < count; index += 1) {
    enqueue({
      work: { kind: 'range', path, file: file.raw, size, offset: index * RANGE, target: target?.raw },
      done(result) {
        if (result.kind !== 'range' || result.hashes === undefined) throw changedError(path);
        hashes[index] = result.hashes;
        left -= 1;
        if (left === 0) atPath(path, () => done(reader.hasher.joinRanges(hashes, size)));
      },
    });
  }
}
