import { FormatError } from '../../core/image/format-error.js';
import type { OciLimits } from './limits.js';

/** What all layers of an image have used of what an image may have. Each of them throws FormatError when it is too much. */
export interface Budget {
  addEntry(): void;
  /** Bytes that stay in memory. */
  addText(bytes: number): void;
  /** Bytes of a layer, unpacked. */
  addUnpacked(bytes: number): void;
  /** So many bytes are said to follow. */
  expectUnpacked(bytes: number): void;
  /** Gives back what was used since the function was made. */
  remember(): () => void;
}

/** `packed`: bytes of all layers as they are stored. */
export function createBudget(limits: OciLimits, packed: number): Budget {
  const mostUnpacked = Math.max(limits.unpackedBytes, packed * limits.ratio);
  let used = { entries: 0, text: 0, unpacked: 0 };
  const requireUnpacked = (bytes: number): void => {
    if (bytes > mostUnpacked)
      throw new FormatError('too-large', `unpacked, the layers have more than ${mostUnpacked} bytes; packed they have ${packed}`);
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
    addUnpacked(bytes) {
      used.unpacked += bytes;
      requireUnpacked(used.unpacked);
    },
    expectUnpacked: (bytes) => requireUnpacked(used.unpacked + bytes),
    remember() {
      const before = { ...used };
      return () => void (used = { ...before });
    },
  };
}
