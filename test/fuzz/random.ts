/** A reproducible source of numbers: the same seed gives the same numbers on every machine. */
export interface Random {
  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number;
}

/** SplitMix32. */
export function seededRandom(seed: number): Random {
  let state = seed | 0;
  return {
    below(limit) {
      state = (state + 0x9e3779b9) | 0;
      let mixed = state ^ (state >>> 16);
      mixed = Math.imul(mixed, 0x21f0aaad);
      mixed ^= mixed >>> 15;
      mixed = Math.imul(mixed, 0x735a2d97);
      mixed ^= mixed >>> 15;
      return Math.floor(((mixed >>> 0) / 2 ** 32) * limit);
    },
  };
}
