// Numbers from samples, of a kind that a noisy machine spoils least: medians, and ratios taken round by round.

export interface Summary {
  readonly n: number;
  readonly p50: number;
  readonly p95: number;
}

/** A ratio taken in each round of a run: the median round, and between what its true value lies with a probability of about 95 %. */
export interface Spread {
  readonly median: number;
  readonly low: number;
  readonly high: number;
  readonly rounds: number;
}

/** The value below which a fraction of the samples lies (nearest rank). Throws RangeError when there are none. */
export function quantile(samples: readonly number[], fraction: number): number {
  if (samples.length === 0) throw new RangeError('no samples');
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(fraction * sorted.length) - 1)]!;
}

export const median = (samples: readonly number[]): number => quantile(samples, 0.5);

export function summarise(samples: readonly number[]): Summary {
  return { n: samples.length, p50: median(samples), p95: quantile(samples, 0.95) };
}

/** Compares what was measured side by side: the median of each round against the other's median of the same round. */
export function ratioOf(rounds: readonly (readonly number[])[], baseRounds: readonly (readonly number[])[]): Spread {
  if (rounds.length !== baseRounds.length) throw new RangeError('both sides need the same number of rounds');
  const ratios = rounds.map((samples, i) => median(samples) / median(baseRounds[i]!)).sort((a, b) => a - b);
  // Interval of a median by order statistics: the number of rounds below it is binomial with p = 1/2. Few rounds give their extremes.
  const outside = Math.max(0, Math.floor((ratios.length - 1.96 * Math.sqrt(ratios.length)) / 2));
  return { median: median(ratios), low: ratios[outside]!, high: ratios.at(-1 - outside)!, rounds: ratios.length };
}

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The items in random order (Fisher–Yates). */
export function shuffle<T>(items: readonly T[], random: () => number): T[] {
  const shuffled = [...items];
  for (let i = shuffled.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [shuffled[i], shuffled[j]] = [shuffled[j]!, shuffled[i]!];
  }
  return shuffled;
}
