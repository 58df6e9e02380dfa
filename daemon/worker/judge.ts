// What is in an image, found out by the readers of core/image. The kernel has not seen it yet.
import { readErofsFacts } from '../../core/image/erofs-facts.js';
import { readFacts, readTreeFacts, visitObjects } from '../../core/image/facts.js';
import { FormatError } from '../../core/image/format-error.js';
import type { ImageSource } from '../../core/image/image-bytes.js';
import { isErrno, SyscallError } from '../../core/kernel/error.js';
import type { Fd } from '../../core/kernel/fd.js';
import { findBeneath, readAt } from '../../core/kernel/file.js';
import { statFd } from '../../core/kernel/stat.js';
import type { FoundFacts, FoundObjects, Refusal } from './jobs.js';

/** A composefs image is read into memory: metadata of more than half a million files. */
const MAX_COMPOSEFS = 256 * 2 ** 20;

function readAll(file: Fd, target: Uint8Array, offset: number): void {
  for (let done = 0; done < target.length;) {
    const length = readAt(file, target.subarray(done), offset + done);
    if (length === 0) throw new FormatError('short-read', 'the image ends early');
    done += length;
  }
}

/** Metadata of millions of files take seconds; what takes longer was made to. Below the time-out of the job, so that the answer is kept. Milliseconds. */
const MAX_READING = 60_000;

function sourceOfFile(file: Fd): ImageSource {
  const end = performance.now() + MAX_READING;
  const read = (target: Uint8Array, offset: number): void => {
    if (performance.now() > end)
      throw new FormatError('reading-time', `the image takes more than ${MAX_READING / 1000} s to read`);
    readAll(file, target, offset);
  };
  return { size: statFd(file).size, read };
}

function readComposefs(file: Fd): Uint8Array {
  const { size } = statFd(file);
  if (size > MAX_COMPOSEFS)
    throw new FormatError(
      'image-size',
      `the image has ${size} bytes; composefs images of more than ${MAX_COMPOSEFS} are not read`,
    );
  const bytes = new Uint8Array(size);
  readAll(file, bytes, 0);
  return bytes;
}

function orRefusal<T>(read: () => T): T | Refusal {
  try {
    return read();
  } catch (error) {
    if (error instanceof FormatError) return { refused: error.message };
    throw error;
  }
}

/** Throws SyscallError if the file cannot be read. */
export function findFacts(file: Fd, type: 'composefs' | 'erofs', canonical: boolean): FoundFacts | Refusal {
  return orRefusal((): FoundFacts => {
    if (type === 'erofs') {
      // No form of plain EROFS images is canonical: the same tree can become many.
      return { ...readErofsFacts(sourceOfFile(file)), unpinned: 0, misdirected: 0, escaping: 0, canonical: false };
    }
    const bytes = readComposefs(file);
    if (!canonical) return { ...readTreeFacts(bytes), canonical: undefined };
    const { objects: _, version: __, ...facts } = readFacts(bytes);
    return facts;
  });
}

/** True if the store has a regular file at this path, no symlink and no `..` on the way. */
function hasObject(store: Fd, path: string): boolean {
  try {
    using object = findBeneath(store, path);
    return object !== undefined && statFd(object).type === 'file';
  } catch (error) {
    // Whatever a file system of the caller's says, it does not give the object.
    if (error instanceof SyscallError && !isErrno(error, 'EMFILE', 'ENFILE', 'ENOMEM')) return false;
    throw error;
  }
}

/** Looks for each object in the stores, in their order, as overlayfs would. What the files hold is not looked at. */
export function findObjects(file: Fd, stores: readonly Fd[]): FoundObjects | Refusal {
  return orRefusal(() => {
    let objects = 0;
    let missing = 0;
    visitObjects(readComposefs(file), (path) => {
      objects += 1;
      // A path that is not text is none that the stores of this project have.
      const found = path !== undefined && /^[!-~]+$/.test(path) && stores.some((store) => hasObject(store, path));
      if (!found) missing += 1;
    });
    return { objects, missing };
  });
}
