import { closeRepository } from './repositories.js';
import { readPolicy, type LoadedPolicy, type PolicySources } from './policy-files.js';

export interface PolicyHolder {
  current(): LoadedPolicy;
  /** Keeps what is in force now open until disposed, whatever reloads come. */
  hold(): Disposable;
  /** Replaces the policy as a whole. Throws, and keeps the old one. */
  reload(): void;
  close(): void;
}

interface Held {
  readonly loaded: LoadedPolicy;
  uses: number;
}

/** Loads the policy; throws PolicyError if it is broken. */
export function openPolicy(sources: PolicySources): PolicyHolder {
  let held: Held = { loaded: readPolicy(sources), uses: 1 };

  function release(given: Held): void {
    if (--given.uses === 0) given.loaded.repositories.forEach(closeRepository);
  }

  return {
    current: () => held.loaded,
    hold() {
      const mine = held;
      mine.uses++;
      return { [Symbol.dispose]: () => release(mine) };
    },
    reload() {
      const next: Held = { loaded: readPolicy(sources), uses: 1 };
      release(held);
      held = next;
    },
    close: () => release(held),
  };
}
