// What a failed system call says to somebody who writes a store.
import { RequestError } from '../../core/wire/errors.js';

/** True for what Node or the kernel said of a system call; false for a mistake of ours. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return error instanceof Error && typeof code === 'string' && typeof syscall === 'string';
}

/** Puts the store's path into the error of a system call. */
export function atStore<T>(store: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (!isSystemError(cause)) throw cause;
    const hint = HINTS[cause.code ?? ''] ?? 'name another directory';
    throw new RequestError('Failed', `the store ${store} cannot be written (${cause.message})`, { hint, cause });
  }
}

const AS_OWNER = 'run it as root, or name a directory of your own';

const HINTS: Readonly<Record<string, string>> = {
  EACCES: AS_OWNER,
  EPERM: AS_OWNER,
  EROFS: 'the file system is read-only: name another directory',
  ENOSPC: 'make room',
  EDQUOT: 'make room: the quota is used up',
};
