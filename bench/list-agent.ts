// Reads one list of digests in a process of its own, as the daemon would, and looks digests up; prints what it took as JSON.
import { readFileSync } from 'node:fs';

import { parseVerityDigest, type VerityDigest } from '../core/image/digest.js';
import { type DigestList, readDigestList } from '../policy/digest-list.js';

export interface ListFigures {
  /** From the file to a list that can be asked. Milliseconds. */
  readonly load: number;
  /** How much more memory the process had at most, and has after the text of the list is gone. MiB. */
  readonly peak: number;
  readonly kept: number;
  /** Nanoseconds for each look-up of a digest that is in the list, and of one that is not. */
  readonly hit: number;
  readonly miss: number;
}

const LOOKUPS = 200_000;
const MIB = 2 ** 20;

function nanoseconds(digests: readonly VerityDigest[], has: (digest: VerityDigest) => boolean, expected: boolean): number {
  let right = 0;
  const start = process.hrtime.bigint();
  for (let i = 0; i < LOOKUPS; i++) if (has(digests[i % digests.length]!) === expected) right++;
  const took = Number(process.hrtime.bigint() - start) / LOOKUPS;
  if (right !== LOOKUPS) throw new Error('the list is wrong');
  return took;
}

/** Every so many lines of the list, and the same with their digits turned around. */
function someDigests(file: string): { there: VerityDigest[]; absent: VerityDigest[] } {
  const lines = readFileSync(file, 'latin1').split('\n');
  const step = Math.ceil(lines.length / 1000);
  const there = lines.filter((line, i) => line !== '' && i % step === 0).map(parseVerityDigest);
  const absent = there.map((digest) => parseVerityDigest(`sha256:${digest.slice(7).split('').toReversed().join('')}`));
  return { there, absent };
}

/** A function of its own, so that nothing refers to the text when it returns. */
function load(file: string): DigestList {
  return readDigestList(file, readFileSync(file));
}

function measure(file: string): ListFigures {
  const before = process.memoryUsage.rss();
  const start = performance.now();
  const list = load(file);
  const took = performance.now() - start;
  const peak = process.resourceUsage().maxRSS * 1024 - before;
  globalThis.gc?.();
  const kept = process.memoryUsage.rss() - before;
  const { there, absent } = someDigests(file);
  nanoseconds(there, list.has, true); // compiled now
  const [hit, miss] = [nanoseconds(there, list.has, true), nanoseconds(absent, list.has, false)];
  return { load: took, peak: peak / MIB, kept: kept / MIB, hit, miss };
}

console.log(JSON.stringify(measure(process.argv[2]!)));
