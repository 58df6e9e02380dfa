// (g) Lists of digests: how long they take to load, what memory, and what a look-up costs as they grow.
import { createHash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import type { ListFigures } from './list-agent.js';
import { collectSamples, figure, ratio, type Section } from './results.js';
import { ROOT, run } from './setting.js';
import { shuffle } from './statistics.js';

const SIZES = [1_000, 100_000, 1_000_000];
const LARGEST = 1_000_000;
const ROUNDS = 5;
const [MOST_SECONDS, MOST_MIB] = [1, 150];

function writeList(file: string, count: number): void {
  const fd = openSync(file, 'w');
  let lines = '';
  for (let i = 0; i < count; i++) {
    lines += `sha256:${createHash('sha256').update(String(i)).digest('hex')}\n`;
    if (lines.length > 1 << 20) lines = (writeSync(fd, lines), '');
  }
  writeSync(fd, lines);
  closeSync(fd);
}

function measureList(file: string): ListFigures {
  return JSON.parse(run(process.execPath, '--expose-gc', join(ROOT, 'build/bench/list-agent.js'), file)) as ListFigures;
}

const nameOf = (count: number): string => `${count.toLocaleString('en')} digests`;

export function measureLists(scratch: string, random: () => number): Promise<Section> {
  const samples = collectSamples();
  for (const count of SIZES) writeList(join(scratch, `${count}.list`), count);
  for (let round = 0; round < ROUNDS; round++) {
    for (const count of shuffle(SIZES, random)) {
      const figures = measureList(join(scratch, `${count}.list`));
      for (const [key, value] of Object.entries(figures)) samples.add(`${nameOf(count)} ${key}`, [value]);
    }
  }
  const rows = SIZES.flatMap((count) => {
    const name = nameOf(count);
    return [
      figure(`${name}: load`, 'ms', samples.all(`${name} load`)),
      figure(`${name}: most memory`, 'MiB', samples.all(`${name} peak`)),
      figure(`${name}: memory kept`, 'MiB', samples.all(`${name} kept`)),
      figure(`${name}: look-up, there`, 'ns', samples.all(`${name} hit`)),
      figure(`${name}: look-up, not there`, 'ns', samples.all(`${name} miss`)),
    ];
  });
  const largest = nameOf(LARGEST);
  const constant = (value: number): number[][] => Array.from({ length: ROUNDS }, () => [value]);
  return Promise.resolve({
    id: 'g',
    title: 'lists of digests of the policy',
    figures: rows,
    ratios: [
      ratio(`${largest}: load / ${MOST_SECONDS} s`, samples.rounds(`${largest} load`), constant(MOST_SECONDS * 1000), {
        atMost: 1,
      }),
      ratio(`${largest}: most memory / ${MOST_MIB} MiB`, samples.rounds(`${largest} peak`), constant(MOST_MIB), { atMost: 1 }),
      ratio(
        `look-up in ${largest} / in ${nameOf(SIZES[0]!)}`,
        samples.rounds(`${largest} hit`),
        samples.rounds(`${nameOf(SIZES[0]!)} hit`),
      ),
    ],
    notes: ['a process of its own for each; memory beyond that of the process before; a text of digests is 72 bytes a line'],
  });
}
