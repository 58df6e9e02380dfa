import { createVerityHasher } from '../../core/image/verity-hash.js';
import type { Fd } from '../../core/kernel/fd.js';
import { readAt, writeAllAt } from '../../core/kernel/file.js';

const CHUNK = 1 << 20;

/**
 * fs-verity digest of the first `size` bytes of a file, which go into `copy` on the way: what is hashed is what is
 * copied. Throws RangeError when the file ends early.
 */
export function copyAndHash(file: Fd, copy: Fd | null, size: number, algorithm: 'sha256' | 'sha512'): string {
  const hasher = createVerityHasher(algorithm);
  const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK, Math.max(size, 1)));
  for (let offset = 0; offset < size;) {
    const length = readAt(file, buffer.subarray(0, Math.min(buffer.length, size - offset)), offset);
    if (length === 0) throw new RangeError('the file ended early');
    const chunk = buffer.subarray(0, length);
    if (copy) writeAllAt(copy, chunk, offset);
    hasher.update(chunk);
    offset += length;
  }
  return hasher.digest();
}
