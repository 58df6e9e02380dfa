// A thread that reads files for a scan. It does what it is told until it is told to end; then it ends itself, because ending it from outside while it loads
// native code would take the whole process down.
import { type MessagePort, workerData } from 'node:worker_threads';
import { RequestError } from '../../core/wire/errors.js';
import type { Answer, Order } from './file-pool.js';
import { type Surroundings, createFileReader, doWork } from './work.js';

const { port, surroundings } = workerData as { port: MessagePort; surroundings: Surroundings };
const reader = createFileReader(surroundings);

function answer(message: Answer): void {
  port.postMessage(message);
}

function carryOut(order: Order): Answer {
  if (order.kind !== 'sync') return doWork(reader, order);
  reader.store?.sync();
  return { kind: 'synced', written: reader.store?.written ?? { objects: 0, bytes: 0 } };
}

port.on('message', (order: Order | 'end') => {
  if (order === 'end') {
    reader.store?.[Symbol.dispose]();
    process.exit();
  }
  try {
    answer(carryOut(order));
  } catch (error) {
    if (error instanceof RequestError) answer({ kind: 'failed', code: error.code, message: error.message, hint: error.hint });
    else
      answer({
        kind: 'failed',
        code: undefined,
        message: error instanceof Error ? (error.stack ?? error.message) : String(error),
        hint: undefined,
      });
  }
});
answer({ kind: 'ready' });
