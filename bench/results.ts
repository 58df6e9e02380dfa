// What a part of the benchmark hands over: figures, ratios with their goals, and remarks. The same values are printed and written to results.json.
import { ratioOf, type Spread, summarise, type Summary } from './statistics.js';

export interface Figure extends Summary {
  readonly name: string;
  readonly unit: string;
}

/** What a ratio should be, and what is known about a miss. */
export interface Goal {
  readonly atLeast?: number;
  readonly atMost: number;
  readonly reason?: string;
}

/** 'undecided': the median misses the goal by less than the noise of this run. */
export type Verdict = 'met' | 'missed' | 'undecided';

export interface Ratio extends Spread {
  readonly name: string;
  readonly goal?: Goal;
  readonly verdict?: Verdict;
}

export interface Section {
  readonly id: string;
  readonly title: string;
  readonly figures: readonly Figure[];
  readonly ratios: readonly Ratio[];
  readonly notes: readonly string[];
}

/** What a part of a section adds to it. */
export type Part = Pick<Section, 'figures' | 'ratios' | 'notes'>;

export function figure(name: string, unit: string, samples: readonly number[]): Figure {
  return { name, unit, ...summarise(samples) };
}

export function ratio(
  name: string,
  rounds: readonly (readonly number[])[],
  baseRounds: readonly (readonly number[])[],
  goal?: Goal,
): Ratio {
  const spread = ratioOf(rounds, baseRounds);
  if (goal === undefined) return { name, ...spread };
  return { name, ...spread, goal, verdict: judge(spread, goal) };
}

function judge({ median, low, high }: Spread, { atLeast = 0, atMost }: Goal): Verdict {
  if (median >= atLeast && median <= atMost) return 'met';
  return low <= atMost && high >= atLeast ? 'undecided' : 'missed';
}

/** Samples of several cases, round by round. */
export interface Samples {
  add(name: string, samples: readonly number[]): void;
  rounds(name: string): readonly (readonly number[])[];
  all(name: string): number[];
}

export function collectSamples(): Samples {
  const rounds = new Map<string, (readonly number[])[]>();
  return {
    add(name, samples) {
      rounds.set(name, [...(rounds.get(name) ?? []), samples]);
    },
    rounds: (name) => rounds.get(name) ?? [],
    all: (name) => (rounds.get(name) ?? []).flat(),
  };
}
