// A line on the terminal while something takes long. Where nobody watches, nothing is written.
import { isatty } from 'node:tty';
import { formatBytes, printError } from './output.js';

/** Milliseconds before the first line: what is done by then needs none. */
const QUIET = 500;
const INTERVAL = 100;
const WIDTH = 24;

export interface Progress extends Disposable {
  /** So many bytes more are done. */
  advance(bytes: number): void;
}

/** `total`: bytes there are to do, as far as is known. Disposing it takes the line away. */
export function showProgress(what: string, total: number | (() => number)): Progress {
  if (!isatty(2)) return { advance: () => undefined, [Symbol.dispose]: () => undefined };
  let done = 0;
  let next = performance.now() + QUIET;
  let shown = false;
  return {
    advance(bytes) {
      done += bytes;
      if (performance.now() < next) return;
      next = performance.now() + INTERVAL;
      shown = true;
      printError(`\r${formatProgress(what, done, typeof total === 'number' ? total : total())}\u001B[K`);
    },
    [Symbol.dispose]() {
      if (shown) printError('\r\u001B[K');
    },
  };
}

export function formatProgress(what: string, done: number, total: number): string {
  const share = total === 0 ? 1 : Math.min(1, done / total);
  const bar = '#'.repeat(Math.floor(share * WIDTH)).padEnd(WIDTH, '.');
  return `${what} [${bar}] ${String(Math.floor(share * 100)).padStart(3)}%  ${formatBytes(done)} of ${formatBytes(total)}`;
}
