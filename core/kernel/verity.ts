import type { Fd } from './fd.js';
import { ioctlBuffer } from './ioctl.js';
import { bind } from './libc.js';

// linux/fsverity.h
const FS_IOC_ENABLE_VERITY = 0x40806685;
const FS_IOC_MEASURE_VERITY = 0xc0046686;
// asm-generic/errno.h: no verity on this file; and the ways of saying that there is none at all.
const ENODATA = 61;
const [EINVAL, ENOTTY, EOPNOTSUPP] = [22, 25, 95];
const measure = bind('ioctl', ['fd', 'u64', 'buffer'], 'int', { expected: [ENODATA, EINVAL, ENOTTY, EOPNOTSUPP] });
const algorithms: Record<number, 'sha256' | 'sha512'> = { 1: 'sha256', 2: 'sha512' };

export type VerityState =
  | { readonly state: 'enabled'; readonly algorithm: 'sha256' | 'sha512'; readonly digest: Uint8Array }
  /** The file system could, but this file has none. */
  | { readonly state: 'disabled' }
  /** The kernel or the file system has no fs-verity. */
  | { readonly state: 'unsupported' };

/** The fs-verity digest that the kernel holds of a file. On a directory: whether its file system has fs-verity at all. */
export function measureVerity(file: Fd): VerityState {
  const buffer = Buffer.alloc(4 + 64); // struct fsverity_digest
  buffer.writeUInt16LE(64, 2);
  const result = measure(file.raw, FS_IOC_MEASURE_VERITY, buffer);
  if (result < 0) return { state: result === -ENODATA ? 'disabled' : 'unsupported' };
  const algorithm = algorithms[buffer.readUInt16LE(0)];
  if (!algorithm) return { state: 'unsupported' };
  return { state: 'enabled', algorithm, digest: Uint8Array.from(buffer.subarray(4, 4 + buffer.readUInt16LE(2))) };
}

/** Turns fs-verity on for a file opened read-only (4096-byte blocks, no salt): its bytes can never change again. */
export function enableVerity(file: Fd, algorithm: 'sha256' | 'sha512'): void {
  const argument = Buffer.alloc(128); // struct fsverity_enable_arg
  argument.writeUInt32LE(1, 0);
  argument.writeUInt32LE(algorithm === 'sha256' ? 1 : 2, 4);
  argument.writeUInt32LE(4096, 8);
  ioctlBuffer(file.raw, FS_IOC_ENABLE_VERITY, argument);
}
