import { byteStringOf } from './byte-string.js';
import { statOpenEntry } from '../../core/kernel/stat.js';
import { RANGE } from './file-hasher.js';
import type { Job } from './file-pool.js';
import type { OwnedFd } from '../../core/kernel/fd.js';
import { atPath, changedError } from './path-error.js';
import { type FileReader, type FileResult, type FileTask } from './scanned-file.js';

/** A file of several ranges, which any thread may hash. Disposing it closes it. */
export interface LongFile extends Disposable {
  /** One for each range. The last that is done gives the result. */
  readonly jobs: readonly Job[];
}

/** Takes a file open for reading. Its jobs throw `RequestError` if it cannot be read or is not in the state it was met in any more. */
export function longFileOf(reader: FileReader, file: OwnedFd, task: FileTask, done: (result: FileResult) => void): LongFile {
  const started = reader.store?.startObject({ file, size: task.size });
  const ranges: Uint8Array[] = [];
  let finished = false;
  let left = Math.ceil(task.size / RANGE);

  const take = (index: number, hashes: Uint8Array | undefined): void => {
    if (hashes === undefined) throw changedError(reader.shown + task.path);
    ranges[index] = hashes;
    left -= 1;
    if (left === 0) done(atPath(reader.shown + task.path, finish));
  };
  const finish = (): FileResult => {
    const digest = reader.hasher.joinRanges(ranges, task.size);
    const xattrs = reader.xattrs.ofOpen(file);
    if (statOpenEntry(file).state !== task.state) throw changedError(reader.shown + task.path);
    if (started) reader.store?.finishObject(started.draft, digest, task.size);
    finished = true;
    file.close();
    return { content: undefined, digest: byteStringOf(digest), xattrs };
  };

  const source = started?.cloned === true ? started.draft.file : file;
  const target = started?.cloned === false ? started.draft.file.raw : undefined;
  const jobs = Array.from({ length: left }, (_, index): Job => {
    const work = { kind: 'range', file: source.raw, size: task.size, offset: index * RANGE, target } as const;
    return { work, done: (result) => take(index, result.kind === 'range' ? result.hashes : undefined) };
  });
  const close = (): void => {
    if (!finished) started?.draft[Symbol.dispose]();
    file.close();
  };
  return { jobs, [Symbol.dispose]: close };
}
