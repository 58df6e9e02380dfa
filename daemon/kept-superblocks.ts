// EROFS superblocks of composefs images mounted lately. Cloning one is several times cheaper than making it again.
import type { Fd, OwnedFd } from '../core/kernel/fd.js';

const MAX_KEPT = 64;
const LIFETIME = 60_000;

export interface KeptSuperblocks {
  get(key: string): Fd | undefined;
  /** Takes ownership of a detached, not idmapped mount. */
  put(key: string, mount: OwnedFd): void;
  count(): number;
  /** Lets go of all, so that nothing holds an image's file. */
  clear(): void;
  close(): void;
}

export function keepSuperblocks(): KeptSuperblocks {
  const kept = new Map<string, { mount: OwnedFd; lastUse: number }>();

  function drop(key: string): void {
    kept.get(key)?.mount.close();
    kept.delete(key);
  }

  const clear = (): void => [...kept.keys()].forEach(drop);
  const sweeper = setInterval(() => {
    for (const [key, { lastUse }] of [...kept]) if (Date.now() - lastUse > LIFETIME) drop(key);
  }, LIFETIME / 4);
  sweeper.unref();

  return {
    get(key) {
      const entry = kept.get(key);
      if (!entry) return undefined;
      entry.lastUse = Date.now();
      kept.delete(key);
      kept.set(key, entry);
      return entry.mount;
    },
    put(key, mount) {
      drop(key);
      kept.set(key, { mount, lastUse: Date.now() });
      if (kept.size > MAX_KEPT) drop(kept.keys().next().value!);
    },
    count: () => kept.size,
    clear,
    close() {
      clearInterval(sweeper);
      clear();
    },
  };
}
