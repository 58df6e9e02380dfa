// The tables and the file.
import { writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';

import type { Figure, Ratio, Section, Verdict } from './results.js';

export interface Machine {
  readonly kernel: string;
  readonly node: string;
  readonly cpu: string;
  readonly cpus: number;
  readonly memoryMiB: number;
}

export function describeMachine(): Machine {
  const processors = cpus();
  return {
    kernel: release(),
    node: process.version,
    cpu: processors[0]?.model ?? 'unknown',
    cpus: processors.length,
    memoryMiB: Math.round(totalmem() / 2 ** 20),
  };
}

const NAME_WIDTH = 84;

function number(value: number): string {
  return (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)).padStart(9);
}

function figureLine({ name, unit, n, p50, p95 }: Figure): string {
  return `  ${name.padEnd(NAME_WIDTH)}${number(p50)}${number(p95)}  ${unit.padEnd(8)} n=${n}`;
}

const VERDICTS: Readonly<Record<Verdict, string>> = { met: 'met', missed: 'MISSED', undecided: 'undecided, too noisy' };

function goalText({ goal, verdict }: Ratio): string {
  if (goal === undefined || verdict === undefined) return '';
  const wanted = goal.atLeast === undefined ? `≤ ${goal.atMost}` : `${goal.atLeast} … ${goal.atMost}`;
  const reason = verdict === 'met' || goal.reason === undefined ? '' : `; ${goal.reason}`;
  return `  goal ${wanted}: ${VERDICTS[verdict]}${reason}`;
}

function ratioLine(ratio: Ratio): string {
  const { name, median, low, high, rounds } = ratio;
  const spread = rounds > 1 ? `(${low.toFixed(2)} … ${high.toFixed(2)})` : '';
  return `  ${name.padEnd(NAME_WIDTH)}${median.toFixed(2).padStart(8)}×  ${spread}${goalText(ratio)}`;
}

export function printSection({ id, title, figures, ratios, notes }: Section): void {
  const lines = [`\n(${id}) ${title}`];
  if (figures.length > 0) lines.push(`  ${''.padEnd(NAME_WIDTH)}${'p50'.padStart(9)}${'p95'.padStart(9)}`);
  lines.push(...figures.map(figureLine), ...ratios.map(ratioLine), ...notes.map((note) => `  note: ${note}`));
  console.log(lines.join('\n'));
}

export function writeResults(path: string, seed: number, sections: readonly Section[]): void {
  writeFileSync(path, `${JSON.stringify({ machine: describeMachine(), seed, sections }, null, 2)}\n`);
}
