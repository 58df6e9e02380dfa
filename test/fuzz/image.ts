import { parseArgs } from 'node:util';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { fuzzSubjects } from './subjects.js';
import { runTrial } from './trial.js';

// Damages images and dumps and reads them: node build/test/fuzz/image.js [--count N] [--seed S]. A failure names its seed; --count 1 --seed THAT repeats it.

/** Heap of the reading thread: what it has of its own and the 64 MB a damaged file may cost. */
const HEAP_MB = 64;
const STEP = 1000;

interface Tally {
  readonly outcomes: Readonly<Record<string, number>>;
  readonly slowest: number;
}

function runBatch(first: number, count: number): Tally {
  const subjects = fuzzSubjects();
  const outcomes: Record<string, number> = {};
  let slowest = 0;
  for (let seed = first; seed < first + count; seed += 1) {
    const result = guardTrial(seed, subjects);
    outcomes[result.outcome] = (outcomes[result.outcome] ?? 0) + 1;
    slowest = Math.max(slowest, result.ms);
    if ((seed - first) % STEP === STEP - 1) parentPort?.postMessage({ done: seed - first + 1 });
  }
  return { outcomes, slowest };
}

function guardTrial(seed: number, subjects: ReturnType<typeof fuzzSubjects>): ReturnType<typeof runTrial> {
  try {
    return runTrial(subjects, seed);
  } catch (error) {
    throw new Error(`seed ${seed} failed: ${String(error)}`, { cause: error });
  }
}

function main(): void {
  const { values } = parseArgs({
    options: { count: { type: 'string', default: '200000' }, seed: { type: 'string', default: '1' } },
  });
  const count = Number(values.count);
  const first = Number(values.seed);
  const started = performance.now();
  const worker = new Worker(new URL(import.meta.url), {
    workerData: { first, count },
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
  });
  worker.on('message', (message: { done: number } | Tally) => {
    if ('done' in message) {
      if (process.stderr.isTTY) process.stderr.write(`\r${message.done} of ${count}`);
      return;
    }
    const seconds = (performance.now() - started) / 1000;
    for (const [outcome, times] of Object.entries(message.outcomes).sort(([, a], [, b]) => b - a))
      console.log(String(times).padStart(8), outcome);
    console.log(
      `${count} damaged files from seed ${first}: nothing but FormatError, slowest ${message.slowest.toFixed(1)} ms, ${seconds.toFixed(0)} s`,
    );
  });
  worker.on('error', (error) => {
    console.error(error);
    process.exitCode = 1;
  });
}

if (isMainThread) main();
else {
  const { first, count } = workerData as { first: number; count: number };
  parentPort?.postMessage(runBatch(first, count));
}
