import type { Fd } from '../core/kernel/fd.js';
import { waitReady } from '../core/kernel/poll.js';
import { RequestError } from '../core/wire/errors.js';

/** A moment by which an answer must be there. */
export interface Deadline {
  /** Milliseconds left; throws `RequestError` Timeout when there are none. */
  remaining(): number;
}

export function deadlineIn(timeoutMs: number): Deadline {
  const end = performance.now() + timeoutMs;
  return {
    remaining() {
      const left = end - performance.now();
      if (left <= 0) throw timedOut(timeoutMs);
      return left;
    },
  };
}

function timedOut(timeoutMs: number): RequestError {
  return new RequestError('Timeout', `the service did not answer within ${timeoutMs / 1000} s`, {
    hint: 'it may be busy: try again, wait longer with --timeout, or look at `journalctl -u cfsmountd`',
  });
}

/** Blocks the thread until the descriptor is ready. Throws `RequestError` Timeout. */
export function waitUntil(fd: Fd, direction: 'readable' | 'writable', deadline: Deadline): void {
  while (!waitReady(fd, direction, deadline.remaining())) deadline.remaining();
}

/** Blocks the thread for some milliseconds. */
export function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
