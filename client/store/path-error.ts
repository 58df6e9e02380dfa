import { FormatError } from '../../core/image/format-error.js';
import { SyscallError } from '../../core/kernel/error.js';
import { RequestError } from '../../core/wire/errors.js';

/** A path for people: bytes that are no UTF-8 show as U+FFFD. `path` has one byte in a character (latin1). */
export function showPath(path: string): string {
  return Buffer.from(path, 'latin1').toString('utf8');
}

export function changedError(path: string): RequestError {
  return new RequestError('Failed', `${showPath(path)} changed while it was read`, {
    hint: 'stop what writes there, or take a snapshot or a copy and read that',
  });
}

/** Runs what looks at one path and puts the path into the error of a system call or of the image format. */
export function atPath<T>(path: string, look: () => T): T {
  try {
    return look();
  } catch (cause) {
    if (cause instanceof SyscallError) throw explain(path, cause);
    if (cause instanceof FormatError) throw new RequestError('Failed', `${showPath(path)}: ${cause.message}`, { cause });
    throw cause;
  }
}

/** Opens what the caller named; the error of a system call says what it is that could not be opened. Throws `RequestError`. */
export function orCannotOpen<T>(what: string, open: () => T): T {
  try {
    return open();
  } catch (cause) {
    const code = cause instanceof SyscallError ? cause.code : (cause as NodeJS.ErrnoException).code;
    if (cause instanceof RequestError || typeof code !== 'string') throw cause;
    throw new RequestError('BadRequest', `${what} cannot be opened (${code})`, { cause });
  }
}

/** It was there a moment ago, and no symlink, directory, empty pipe or device. */
const GONE: ReadonlySet<string> = new Set([
  'ENOENT',
  'ESTALE',
  'ENODATA',
  'ELOOP',
  'ENOTDIR',
  'EISDIR',
  'EAGAIN',
  'ESPIPE',
  'ENXIO',
]);

function explain(path: string, cause: SyscallError): RequestError {
  if (GONE.has(cause.code)) return changedError(path);
  const hint =
    cause.code === 'EACCES' || cause.code === 'EPERM' ? 'run it as a user who may read everything in the tree' : undefined;
  return new RequestError('Failed', `${showPath(path)} cannot be read (${cause.code})`, { hint, cause });
}
