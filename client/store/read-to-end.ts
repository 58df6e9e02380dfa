import type { Fd } from '../../core/kernel/fd.js';
import { O_RDONLY, openPath, read } from '../../core/kernel/file.js';
import { isErrno } from '../../core/kernel/error.js';
import { waitReady } from '../../core/kernel/poll.js';
import { statFd } from '../../core/kernel/stat.js';
import { RequestError } from '../../core/wire/errors.js';
import { atPath, orCannotOpen } from './path-error.js';

const STDIN: Fd = { raw: 0 };
const PIECE = 1 << 20;
/** A dump is held in memory, with the tree that becomes of it. */
const MAX_SIZE = 2 ** 31;

/** All bytes of a file, pipe or, for `-`, standard input; at most 2 GiB. Throws `RequestError`. */
export function readToEnd(path: string): Uint8Array {
  if (path === '-') return atPath('standard input', () => readAll(STDIN));
  using file = orCannotOpen(path, () => openPath(path, O_RDONLY));
  if (statFd(file).type === 'directory') throw new RequestError('BadRequest', `${path} is a directory, and no dump`);
  return atPath(Buffer.from(path).toString('latin1'), () => readAll(file));
}

function readAll(file: Fd): Uint8Array {
  // One more than it has, so that the end is found without asking for more room.
  let bytes = allocate(Math.max(PIECE, statFd(file).size + 1));
  for (let size = 0; ;) {
    if (size === bytes.length) bytes = enlarge(bytes);
    const count = readWaiting(file, bytes.subarray(size));
    if (count === 0) return bytes.subarray(0, size);
    size += count;
  }
}

function enlarge(bytes: Buffer): Buffer<ArrayBuffer> {
  const larger = allocate(bytes.length * 2);
  bytes.copy(larger);
  return larger;
}

function allocate(size: number): Buffer<ArrayBuffer> {
  if (size <= MAX_SIZE) return Buffer.allocUnsafeSlow(size);
  throw new RequestError('NotSupported', `the dump has more than ${MAX_SIZE} bytes`);
}

function readWaiting(file: Fd, buffer: Uint8Array): number {
  for (;;) {
    try {
      return read(file, buffer);
    } catch (error) {
      // Somebody who shares it has made it non-blocking.
      if (!isErrno(error, 'EAGAIN')) throw error;
      waitReady(file, 'readable', 60_000);
    }
  }
}
