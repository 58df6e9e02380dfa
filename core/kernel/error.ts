import { constants } from 'node:os';

// Not in Node's table (asm-generic/errno.h).
const OTHERS = { ENOTBLK: 15, ENOPKG: 65, EUCLEAN: 117 };

const errnos: Readonly<Record<string, number>> = { ...constants.errno, ...OTHERS };
const namesByErrno = new Map<number, ErrnoName>();
for (const [name, value] of Object.entries(errnos)) {
  if (!namesByErrno.has(value)) namesByErrno.set(value, name as ErrnoName);
}

/** Symbolic name of an errno, as in errno(3). */
export type ErrnoName = keyof typeof constants.errno | keyof typeof OTHERS;

/** A failed system call. `log` holds what the kernel said in the log of an fs context, if it was asked. */
export class SyscallError extends Error {
  override readonly name = 'SyscallError';
  readonly syscall: string;
  readonly errno: number;
  readonly code: ErrnoName | `errno ${number}`;
  readonly log: readonly string[];

  constructor(syscall: string, errno: number, log: readonly string[] = []) {
    const code = namesByErrno.get(errno) ?? (`errno ${errno}` as const);
    super(log.length > 0 ? `${syscall}: ${code} (${log.join('; ')})` : `${syscall}: ${code}`);
    this.syscall = syscall;
    this.errno = errno;
    this.code = code;
    this.log = log;
  }
}

/** True for a SyscallError with one of the given errno names. */
export function isErrno(error: unknown, ...codes: ErrnoName[]): boolean {
  // By number: EOPNOTSUPP and ENOTSUP, or EAGAIN and EWOULDBLOCK, are one.
  return error instanceof SyscallError && codes.some((code) => errnos[code] === error.errno);
}
