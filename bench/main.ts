// make bench: measures all parts in one run, prints tables, writes bench/results.json.
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { measureDaemon } from './daemon.js';
import { measureEndToEnd } from './end-to-end.js';
import { measureFloor } from './floor.js';
import { measureLists } from './lists.js';
import { measureMkfs } from './mkfs.js';
import { measureOci } from './oci.js';
import { measureProcess } from './process.js';
import { measurePodman } from './podman.js';
import { describeMachine, printSection, writeResults } from './report.js';
import type { Section } from './results.js';
import { makeScratch, ROOT } from './setting.js';
import { randomFrom } from './statistics.js';
import { measureTree } from './tree.js';

type Part = (scratch: string, random: () => number) => Promise<Section>;

const PARTS: Readonly<Record<string, Part>> = {
  a: measureFloor,
  b: measureEndToEnd,
  c: measureProcess,
  d: measureTree,
  e: measureDaemon,
  f: measureMkfs,
  g: measureLists,
  h: measureOci,
  i: measurePodman,
};

const USAGE = `usage: node build/bench/main.js [--only=a,b,…] [--seed=N] [--out=FILE]

  a floor   b end to end   c cfsctl as a process   d reading a tree   e daemon: start and memory
  f mkfs and digest   g lists of digests   h container images   i podman run`;

function readOptions(): { parts: [string, Part][]; seed: number; out: string } {
  const options = { only: { type: 'string' }, seed: { type: 'string' }, out: { type: 'string' } } as const;
  const { only, seed = '1', out = join(ROOT, 'bench/results.json') } = parseArgs({ options }).values;
  const wanted = only?.split(',') ?? Object.keys(PARTS);
  const unknown = wanted.filter((id) => !Object.hasOwn(PARTS, id));
  if (unknown.length > 0 || !/^\d+$/.test(seed)) throw new TypeError(`${unknown.join(', ')} ${seed}`);
  return { parts: wanted.map((id) => [id, PARTS[id]!]), seed: Number(seed), out };
}

async function measure(part: Part, random: () => number): Promise<Section> {
  const scratch = makeScratch();
  process.once('exit', scratch.remove);
  try {
    return await part(scratch.path, random);
  } finally {
    process.off('exit', scratch.remove);
    scratch.remove();
  }
}

async function main(): Promise<void> {
  let options: ReturnType<typeof readOptions>;
  try {
    options = readOptions();
  } catch {
    console.error(USAGE);
    process.exit(2);
  }
  if (process.getuid?.() !== 0) {
    console.error('the benchmark mounts file systems: run it as root (sudo make bench)');
    process.exit(1);
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));
  const { kernel, node, cpus, cpu } = describeMachine();
  console.log(`Linux ${kernel}, Node ${node}, ${cpus} × ${cpu}; seed ${options.seed}`);
  const random = randomFrom(options.seed);
  const sections: Section[] = [];
  for (const [, part] of options.parts) {
    const section = await measure(part, random);
    printSection(section);
    sections.push(section);
  }
  writeResults(options.out, options.seed, sections);
}

await main();
