// Mounts that are being made of images found in a repository: nobody has counted them yet, but they cannot be stopped any more by taking the image away.

/** One of them; disposing it ends it, however the call ended. */
export interface Making extends Disposable {
  /** It is counted, or will never be. */
  readonly end: () => void;
}

export interface MountsInMaking {
  /** Before the image is looked for. */
  begin(): Making;
  /** Waits for those that have begun; not for those that begin meanwhile. */
  wait(): Promise<void>;
}

export function trackMountsInMaking(): MountsInMaking {
  const pending = new Set<Promise<void>>();
  return {
    begin() {
      let resolve: () => void;
      const promise = new Promise<void>((done) => (resolve = done));
      pending.add(promise);
      const end = (): void => {
        pending.delete(promise);
        resolve();
      };
      return { end, [Symbol.dispose]: end };
    },
    async wait() {
      await Promise.all(pending);
    },
  };
}
