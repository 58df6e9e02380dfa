// Closing what callers sent. close(2) of a caller's descriptor is the caller's to delay: a socket that lingers, a FUSE file whose FLUSH
// is never answered, a connection with such descriptors in it. So it happens in a thread that its owner pays for, and whoever makes one
// hang may send no more.
import type { Closer } from '../core/kernel/fd.js';
import { OwnedFd } from '../core/kernel/fd.js';
import { closeNumber } from '../core/kernel/libc.js';
import { endStream } from '../core/kernel/socket.js';
import type { Payer, WorkerPool } from './worker/pool.js';

/** Milliseconds. */
const CLOSE_TIMEOUT = 1_000;
/** Descriptors of one payer that may wait for those before them: in the time it takes to notice one that hangs, tens of thousands could come. */
const MAX_WAITING = 1_024;

export interface CallerFds {
  /** Closes the descriptors of one payer, later and elsewhere. */
  closerFor(payer: () => Payer): Closer;
  /** Closes connections of a payer: at once if nothing is left in them, else like its descriptors. */
  connectionCloserFor(payer: Payer): Closer;
  /** True while a descriptor of this payer does not close. */
  isStuck(payer: Payer): boolean;
  /** True while many wait to be closed: no more should be received of this payer. */
  isBehind(payer: Payer): boolean;
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

  function closeLater(payer: Payer, fd: number): void {
    const numbers = waiting.get(payer);
    if (numbers) numbers.push(fd);
    else waiting.set(payer, [fd]);
    closeWaiting(payer);
  }

  return {
    closerFor: (payer) => (fd) => closeLater(payer(), fd),
    connectionCloserFor: (payer) => (fd) => (endStream({ raw: fd }) ? closeNumber(fd) : closeLater(payer, fd)),
    isStuck: (payer) => stuck.has(payer),
    isBehind: (payer) => (waiting.get(payer)?.length ?? 0) >= MAX_WAITING,
  };
}
