import { bind } from './libc.js';

const exitCall = bind('_exit', ['int']);

/**
 * Ends the process and all its threads at once (_exit(2)). Node's own way tears each thread down first: it waits for one that hangs in a
 * system call, and aborts if one is just loading native code. Nothing buffered is written any more.
 */
export function exitNow(status: number): never {
  exitCall(status);
  throw new Error('_exit returned');
}
