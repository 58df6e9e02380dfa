// The fs-verity digest in userspace: against the bare hash on one processor, and what the second processor brings.
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { digestFiles } from '../client/store/run-digest.js';
import { createVerityHasher } from '../core/image/verity-hash.js';
import { loadBlockHasher } from '../core/kernel/sha2.js';
import { collectSamples, figure, type Part, ratio, type Samples } from './results.js';
import { DIST } from './setting.js';
import { shuffle } from './statistics.js';

const MEMORY = 32 << 20;
const FILE = 512 << 20;
const ROUNDS = 15;
const FILE_ROUNDS = 7;

const VERITY = 'fs-verity SHA-256 digest of 32 MiB in memory, one thread';
const RAW = 'SHA-256 of the same 32 MiB in one piece';
const BLOCKS = 'SHA-256 of 4096-byte blocks, openssl speed, time for 32 MiB';
const ONE = 'digest of a file of 512 MiB, warm, one thread';
const TWO = 'digest of a file of 512 MiB, warm, two threads';

/** At least 0.8 times as fast. */
const GOAL = { atMost: 1.25 };

async function milliseconds(act: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await act();
  return performance.now() - start;
}

/** Of the processor, in this program: as openssl speed counts, and nearly the same on a machine that has other things to do. */
function processorMilliseconds(act: () => unknown): number {
  const start = process.cpuUsage();
  act();
  return process.cpuUsage(start).user / 1000;
}

/** Milliseconds that openssl(1) would take for as much; undefined where it is not installed. */
function opensslBlocks(): number | undefined {
  const { stdout, error } = spawnSync('openssl', ['speed', '-mr', '-bytes', '4096', '-seconds', '1', 'sha256'], {
    encoding: 'utf8',
  });
  const rate = error ? Number.NaN : Number(/^\+F:.*:([\d.]+)$/m.exec(stdout)?.[1]);
  return rate > 0 ? (MEMORY / rate) * 1000 : undefined;
}

function measureInMemory(samples: Samples, random: () => number): void {
  const bytes = randomBytes(MEMORY);
  const hashBlocks = loadBlockHasher('sha256');
  const cases: Record<string, () => unknown> = {
    [VERITY]: () => {
      const hasher = createVerityHasher('sha256', hashBlocks);
      hasher.update(bytes);
      return hasher.digest();
    },
    [RAW]: () => createHash('sha256').update(bytes).digest(),
  };
  for (const once of Object.values(cases)) once();
  for (let round = 0; round < ROUNDS; round++) {
    for (const name of shuffle(Object.keys(cases), random)) samples.add(name, [processorMilliseconds(cases[name]!)]);
    const blocks = opensslBlocks();
    if (blocks !== undefined) samples.add(BLOCKS, [blocks]);
  }
}

async function measureFile(samples: Samples, scratch: string, random: () => number): Promise<void> {
  const file = join(scratch, 'large');
  const piece = randomBytes(MEMORY);
  writeFileSync(file, '');
  for (let written = 0; written < FILE; written += MEMORY) writeFileSync(file, piece, { flag: 'a' });
  const workerScript = pathToFileURL(join(DIST, 'cfsctl-worker.cjs'));
  const digest = (threads: number) => (): Promise<void> =>
    digestFiles([file], 'sha256', { threads, workerScript }, () => undefined);
  const cases: Record<string, () => Promise<void>> = { [ONE]: digest(1), [TWO]: digest(2) };
  for (const once of Object.values(cases)) await once();
  for (let round = 0; round < FILE_ROUNDS; round++) {
    for (const name of shuffle(Object.keys(cases), random)) samples.add(name, [await milliseconds(cases[name]!)]);
  }
}

export async function measureDigest(scratch: string, random: () => number): Promise<Part> {
  const samples = collectSamples();
  measureInMemory(samples, random);
  await measureFile(samples, scratch, random);
  const names = [VERITY, RAW, BLOCKS, ONE, TWO].filter((name) => samples.all(name).length > 0);
  const hasBlocks = names.includes(BLOCKS);
  return {
    figures: names.map((name) => figure(name, 'ms', samples.all(name))),
    ratios: [
      ratio(`${VERITY} / in one piece`, samples.rounds(VERITY), samples.rounds(RAW), GOAL),
      ...(hasBlocks
        ? [ratio(`${VERITY} / openssl speed of 4096 bytes`, samples.rounds(VERITY), samples.rounds(BLOCKS), GOAL)]
        : []),
      ratio('digest of a file, two threads / one', samples.rounds(TWO), samples.rounds(ONE)),
    ],
    notes: [
      'in memory: processor time',
      `of a file: elapsed time; two threads include starting the second; ${availableParallelism()} processors`,
      ...(hasBlocks ? [] : ['openssl(1) is not installed: not compared with openssl speed']),
    ],
  };
}
