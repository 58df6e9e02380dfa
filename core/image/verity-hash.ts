import { type VerityAlgorithm, type VerityDigest, verityDigestFromBytes } from './digest.js';
import { type HashBlocks, VERITY_BLOCK, createVerityTree } from './verity-tree.js';

export interface VerityHasher {
  /** Takes the next bytes of the file, any number of them. The chunk may be reused after the call. */
  update(chunk: Uint8Array): void;
  /** Ends the file and returns its digest. Call it once. */
  digest(): VerityDigest;
}

/** Computes an fs-verity digest (4096-byte blocks, no salt) in one pass, keeping one block per tree level. */
export function createVerityHasher(algorithm: VerityAlgorithm, hashBlocks?: HashBlocks): VerityHasher {
  const tree = createVerityTree(algorithm, hashBlocks);
  const pending = new Uint8Array(VERITY_BLOCK);
  let pendingFill = 0;
  let size = 0;
  let ended = false;

  const flushPending = (): void => {
    pending.fill(0, pendingFill);
    pendingFill = 0;
    tree.pushBlocks(pending, 0, 1);
  };
  const topUpPending = (chunk: Uint8Array): number => {
    const taken = Math.min(VERITY_BLOCK - pendingFill, chunk.length);
    pending.set(chunk.subarray(0, taken), pendingFill);
    pendingFill += taken;
    if (pendingFill === VERITY_BLOCK) flushPending();
    return taken;
  };
  const requireOpen = (): void => {
    if (ended) throw new Error('this fs-verity hasher has already given its digest');
  };

  return {
    update(chunk) {
      requireOpen();
      size += chunk.length;
      let at = pendingFill > 0 ? topUpPending(chunk) : 0;
      const whole = Math.floor((chunk.length - at) / VERITY_BLOCK);
      tree.pushBlocks(chunk, at, whole);
      at += whole * VERITY_BLOCK;
      if (at < chunk.length) topUpPending(chunk.subarray(at));
    },
    digest() {
      requireOpen();
      ended = true;
      if (pendingFill > 0) flushPending();
      return verityDigestFromBytes(algorithm, tree.digest(size));
    },
  };
}
