import { SyscallError } from '../../core/kernel/error.js';
import { RequestError } from '../../core/wire/errors.js';

const HINTS: Readonly<Record<string, string>> = {
  EACCES: 'it takes the right to write there',
  EPERM: 'it takes the right to write there',
  ENOSPC: 'make room on its file system; what is there already is kept and not written again',
  EDQUOT: 'make room in your quota; what is there already is kept and not written again',
  EROFS: 'its file system is read-only',
};

/** Runs what changes an object store; the error of a system call says which store it was. Throws `RequestError`. */
export function inStore<T>(path: string, change: () => T): T {
  try {
    return change();
  } catch (cause) {
    if (!(cause instanceof SyscallError)) throw cause;
    throw new RequestError('Failed', `the object store ${path} cannot be written (${cause.code})`, {
      hint: HINTS[cause.code],
      cause,
    });
  }
}
