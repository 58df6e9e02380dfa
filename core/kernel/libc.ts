// The module that loads the C library. Every binding goes through `bind`, which checks each argument (koffi passes
// NaN as 0, cuts strings at NUL and lets oversized integers through) and turns -1 into SyscallError at once, while
// errno is still that of this call.
import koffi from 'koffi';

import { SyscallError } from './error.js';

const libc = koffi.load('libc.so.6');

type Argument = 'fd' | 'int' | 'u32' | 'u64' | 'path' | 'path?' | 'name' | 'buffer' | 'buffer?';

type Native<A extends Argument> = A extends 'u64'
  ? bigint | number
  : A extends 'path'
    ? string | Uint8Array
    : A extends 'path?'
      ? string | Uint8Array | null
      : A extends 'name'
        ? string
        : A extends 'buffer'
          ? Uint8Array
          : A extends 'buffer?'
            ? Uint8Array | null
            : number;

type Natives<T extends readonly Argument[]> = { [K in keyof T]: Native<T[K]> };

const koffiType: Record<Argument, string> = {
  fd: 'int',
  int: 'int',
  u32: 'uint32_t',
  u64: 'uint64_t',
  path: 'void *',
  'path?': 'void *',
  name: 'void *',
  buffer: 'void *',
  'buffer?': 'void *',
};

export const AT_FDCWD = -100;

/** Bytes of a C string with its NUL. Refuses strings that hold a NUL, which C would cut there. */
export function cString(value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value as string);
  if (bytes.includes(0)) throw new TypeError('a string for a system call holds a NUL byte');
  return Buffer.concat([bytes, Buffer.alloc(1)]);
}

/** As `cString`, of a path whose characters stand for one byte each (latin1). */
function byteCString(value: unknown): Buffer {
  if (typeof value !== 'string' || value.includes('\0'))
    throw new TypeError('a path for a system call is no string or holds a NUL byte');
  return Buffer.from(`${value}\0`, 'latin1');
}

function integerBetween(low: number, high: number): (value: unknown) => number {
  return (value) => {
    if (!Number.isInteger(value) || (value as number) < low || (value as number) > high) {
      throw new TypeError(`${String(value)} is not an integer between ${low} and ${high}`);
    }
    return value as number;
  };
}

function bytes(value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new TypeError('expected a byte buffer');
  return value;
}

function u64(value: unknown): bigint | number {
  // Both are passed as they are; a number is quicker.
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  const wide = BigInt(value as bigint | number);
  if (wide < 0n || wide > 0xffff_ffff_ffff_ffffn) throw new TypeError(`${wide} does not fit 64 bits`);
  return wide;
}

const openNumber = integerBetween(0, 0x7fff_ffff);

const check: Record<Argument, (value: unknown) => unknown> = {
  fd: (value) => (value === AT_FDCWD ? AT_FDCWD : openNumber(value)),
  int: integerBetween(-0x8000_0000, 0x7fff_ffff),
  u32: integerBetween(0, 0xffff_ffff),
  u64,
  path: (value) => cString(value as string),
  'path?': (value) => (value === null ? null : cString(value as string)),
  name: byteCString,
  buffer: bytes,
  'buffer?': (value) => (value === null ? null : bytes(value)),
};

// asm-generic/errno-base.h
export const EPERM = 1;
export const EAGAIN = 11;
const EINTR = 4;

/** Errnos that are an ordinary answer of a call: it returns them negated, as the kernel does, where an Error would cost more than the call. */
export interface Expecting {
  readonly expected: readonly number[];
}

function wrap(name: string, native: (...values: unknown[]) => number, kinds: readonly Argument[], expected: readonly number[]) {
  const checks = kinds.map((kind) => check[kind]);
  return (...values: unknown[]): number => {
    if (values.length !== checks.length) throw new TypeError(`${name} takes ${checks.length} arguments`);
    for (let i = 0; i < checks.length; i++) values[i] = checks[i]!(values[i]);
    for (;;) {
      const result = native(...values);
      if (result !== -1) return result;
      const errno = koffi.errno();
      if (expected.includes(errno)) return -errno;
      if (errno !== EINTR) throw new SyscallError(name, errno);
    }
  };
}

/** A libc function that returns an int or (ssize_t) long, -1 for an error. Calls interrupted by a signal are repeated. */
export function bind<const T extends readonly Argument[]>(
  name: string,
  kinds: T,
  result: 'int' | 'long' = 'int',
  { expected }: Expecting = { expected: [] },
): (...values: Natives<T>) => number {
  const native = libc.func(
    name,
    result,
    kinds.map((kind) => koffiType[kind]),
  );
  return wrap(name, native, kinds, expected) as (...values: Natives<T>) => number;
}

/** A system call that has no libc function yet. The C ABI of Linux passes variadic integers like fixed ones. */
export function bindSyscall<const T extends readonly Argument[]>(
  name: string,
  number: number,
  kinds: T,
  { expected }: Expecting = { expected: [] },
): (...values: Natives<T>) => number {
  const native = libc.func('syscall', 'long', ['long', ...kinds.map((kind) => koffiType[kind])]);
  return wrap(name, (...values) => native(number, ...values), kinds, expected) as (...values: Natives<T>) => number;
}

const closeNative = libc.func('close', 'int', ['int']) as (fd: number) => number;

/**
 * close(2), whatever it says: Linux has freed the number also when it returns an error, EINTR included. A file system decides which error
 * that is (the FLUSH of FUSE), so none may be repeated, which would close somebody else's descriptor, or thrown.
 */
export function closeNumber(fd: number): void {
  closeNative(openNumber(fd));
}

/** Address of a buffer's first byte, for structures that hold pointers. The caller keeps the buffer alive. */
export function addressOf(buffer: Uint8Array): bigint {
  return koffi.address(buffer);
}

/** A libc function that returns a pointer to a structure, null when there is none. */
export function bindLookup<T>(name: string, structure: Record<string, string>, argument: 'str' | 'uint32_t') {
  const type = koffi.struct(structure);
  const native = libc.func(name, koffi.pointer(type), [argument]);
  return (key: string | number): T | null => {
    if (typeof key === 'string' && key.includes('\0')) throw new TypeError('a name holds a NUL byte');
    const found: unknown = native(key);
    return found === null ? null : (koffi.decode(found, type) as T);
  };
}
