import koffi from 'koffi';

import type { Fd } from './fd.js';
import { bind } from './libc.js';

const pollCall = bind('poll', ['buffer', 'u64', 'int']);

const POLLIN = 1;
const POLLOUT = 4;

/** A descriptor watched by the event loop. */
export interface Watch {
  /** Also, or no longer, report that the descriptor takes more bytes. */
  wantWritable(want: boolean): void;
  /** Stops reporting readability, or goes on with it. */
  wantReadable(want: boolean): void;
  stop(): void;
}

interface Events {
  readonly readable: boolean;
  readonly writable: boolean;
  readonly disconnect: boolean;
}

/** The live handles: one that nobody refers to is collected, and its descriptor is watched no longer. */
const handles = new Set<unknown>();

/** Calls back from the event loop while the descriptor is readable (also at its end) or writable. Stop it before closing the descriptor. */
export function watch(fd: Fd, onReady: (ready: { readable: boolean; writable: boolean }) => void): Watch {
  let readable = true;
  let writable = false;
  // koffi 3.3.4 calls back with (status, events); its type says otherwise. A negative status is an error condition
  // of the descriptor, which the next read will tell.
  const report = ((status: number, events: Events) =>
    status < 0
      ? onReady({ readable: true, writable: false })
      : onReady({ readable: events.readable || events.disconnect, writable: events.writable })) as never;
  const handle = koffi.node.poll(fd.raw, { readable, writable, disconnect: true }, report);
  handles.add(handle);
  const restart = (): void => {
    if (!handles.has(handle)) return;
    if (readable || writable) handle.start({ readable, writable, disconnect: readable }, report);
    else handle.stop();
  };
  return {
    wantWritable(want) {
      if (want !== writable) {
        writable = want;
        restart();
      }
    },
    wantReadable(want) {
      if (want !== readable) {
        readable = want;
        restart();
      }
    },
    stop() {
      if (!handles.delete(handle)) return;
      handle.stop();
      handle.close();
    },
  };
}

/** Waits, blocking the thread, until the descriptor is ready; false after the time-out in milliseconds. */
export function waitReady(fd: Fd, direction: 'readable' | 'writable', timeoutMs: number): boolean {
  const pollfd = Buffer.alloc(8); // struct pollfd
  pollfd.writeInt32LE(fd.raw, 0);
  pollfd.writeInt16LE(direction === 'readable' ? POLLIN : POLLOUT, 4);
  return pollCall(pollfd, 1, Math.max(0, Math.ceil(timeoutMs))) > 0;
}
