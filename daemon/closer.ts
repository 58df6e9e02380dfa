// Closing what callers sent. close(2) of a caller's descriptor is the caller's to delay: a socket that lingers, a FUSE file whose FLUSH
// is never answered. So it happens in a thread that its owner pays for, and whoever makes one hang may send no more.
import type { Closer } from '../core/kernel/fd.js';
import { OwnedFd } from '../core/kernel/fd.js';
import type { Payer, WorkerPool } from './worker/pool.js';

/** Milliseconds. */
const CLOSE_TIMEOUT = 1_000;

export interface CallerFds {
  /** Closes the descriptors of one payer, later and elsewhere. */
  closerFor(payer: () => Payer): Closer;
  /** True while a descriptor of this payer does not close. */
  isStuck(payer: Payer): boolean;
}

export function createCallerFds(workers: WorkerPool): CallerFds {
  const waiting = new Map<Payer, number[]>();
  const busy = new Set<Payer>();
  const stuck = new Set<Payer>();

  function closeWaiting(payer: Payer): void {
    const numbers = waiting.get(payer);
    if (!numbers || busy.has(payer)) return;
    waiting.delete(payer);
    busy.add(payer);
    const onReleased = (): void => {
      busy.delete(payer);
      stuck.delete(payer);
      setImmediate(closeWaiting, payer);
    };
    const closeAfter = numbers.map((number) => OwnedFd.adopt(number));
    workers
      .run({ kind: 'close' }, { user: payer, timeoutMs: CLOSE_TIMEOUT, closeAfter, onReleased, onLate: () => stuck.add(payer) })
      .catch(() => {});
  }

  return {
    closerFor: (payer) => (fd) => {
      const key = payer();
      const numbers = waiting.get(key);
      if (numbers) numbers.push(fd);
      else waiting.set(key, [fd]);
      closeWaiting(key);
    },
    isStuck: (payer) => stuck.has(payer),
  };
}
