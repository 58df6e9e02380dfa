import { FormatError } from '../../core/image/format-error.js';
import type { OciLimits } from './limits.js';

/** What all layers of an image have used of what an image may have. Each of them throws FormatError when it is too much. */
export interface Budget {
  addEntry(): void;
  /** Bytes that stay in memory. */
  addText(bytes: number): void;
  /** Bytes of a layer as they are stored: what they allow is allowed when they have been read. */
  addPacked(bytes: number): void;
  /** Bytes of a layer, unpacked. */
  addUnpacked(bytes: number): void;
  /** So many bytes are said to follow. */
  expectUnpacked(bytes: number): void;
  /** Gives back what was used since the function was made. */
  remember(): () => void;
}

/** `packed`: bytes of all layers as they are said to be stored, holes included. */
export function createBudget(limits: OciLimits, packed: number): Budget {
  let used = { entries: 0, text: 0, packed: 0, unpacked: 0 };
  const requireUnpacked = (bytes: number, of: number): void => {
    const most = Math.max(limits.unpackedBytes, of * limits.ratio);
    if (bytes > most)
      throw new FormatError('too-large', `unpacked, the layers have more than ${most} bytes; packed they have ${of}`);
  };
  return {
    addEntry() {
      used.entries += 1;
      if (used.entries > limits.entries)
        throw new FormatError('too-many-entries', `the layers have more than ${limits.entries} entries`);
    },
    addText(bytes) {
      used.text += bytes;
      if (used.text > limits.textBytes)
        throw new FormatError(
          'too-much-text',
          `names, targets and attributes of the layers have more than ${limits.textBytes} bytes`,
        );
    },
    addPacked: (bytes) => void (used.packed += bytes),
    addUnpacked(bytes) {
      used.unpacked += bytes;
      requireUnpacked(used.unpacked, used.packed);
    },
    expectUnpacked: (bytes) => requireUnpacked(used.unpacked + bytes, packed),
    remember() {
      const before = { ...used };
      return () => void (used = { ...before });
    },
  };
}
