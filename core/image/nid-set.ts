const CHUNK_SLOTS = 65_536;

/** Inode numbers that were met: one bit for each place an inode can have, kept for the parts of the image where there are some. */
export interface NidSet {
  /** Adds a number from 0 to 2^32 - 1; false if it is there already. */
  add(nid: number): boolean;
}

/** A hash table's time depends on its keys, and an image could choose them. */
export function createNidSet(): NidSet {
  const chunks: (Uint8Array | undefined)[] = [];
  return {
    add(nid) {
      const chunk = (chunks[Math.floor(nid / CHUNK_SLOTS)] ??= new Uint8Array(CHUNK_SLOTS / 8));
      const at = (nid % CHUNK_SLOTS) >> 3;
      const bit = 1 << (nid & 7);
      const bits = chunk[at] ?? 0;
      chunk[at] = bits | bit;
      return (bits & bit) === 0;
    },
  };
}
