import { RequestError } from '../core/wire/errors.js';

const MINUTE = 60_000;

/** How many mounts each user got within the last minute. */
export interface Rate {
  /** Counts one more from now on, for a minute; what it returns takes it back. Throws QuotaExceeded when there are `limit` already. */
  take(payer: number, limit: number): () => void;
}

/** `clock` in milliseconds, never going back. */
export function createRate(clock: () => number = () => performance.now()): Rate {
  /** Moments of the last minute, for each user that has any. */
  const taken = new Map<number, number[]>();

  /** So that nobody who left is remembered. */
  function forgetOld(now: number): void {
    for (const [payer, moments] of taken) {
      const recent = moments.filter((moment) => moment > now - MINUTE);
      if (recent.length > 0) taken.set(payer, recent);
      else taken.delete(payer);
    }
  }

  return {
    take(payer, limit) {
      const now = clock();
      forgetOld(now);
      const moments = taken.get(payer) ?? [];
      if (moments.length >= limit) {
        const wait = Math.ceil((moments[moments.length - limit]! + MINUTE - now) / 1000);
        throw new RequestError('QuotaExceeded', `uid ${payer} got ${limit} mounts within a minute, the most the policy allows`, {
          hint: `wait ${wait} s, or ask the administrator to raise mounts-per-minute in [limits]`,
        });
      }
      taken.set(payer, [...moments, now]);
      return () => {
        const left = taken.get(payer) ?? [];
        const index = left.indexOf(now);
        if (index >= 0) left.splice(index, 1);
      };
    },
  };
}
