import { type VerityAlgorithm, objectPath, verityDigestFromBytes } from '../../core/image/digest.js';
import { isErrno } from '../../core/kernel/error.js';
import type { Fd } from '../../core/kernel/fd.js';
import { enableVerity, measureVerity } from '../../core/kernel/verity.js';
import type { Draft } from './drafts.js';

/** Turns fs-verity on for objects, where the file system has it. */
export interface Sealer {
  /** `path` is the object's place in the store, by its digest. Throws an Error if the kernel finds another digest. */
  seal(draft: Draft, path: string): void;
}

export function createSealer(directory: Fd, algorithm: VerityAlgorithm): Sealer {
  let supported = measureVerity(directory).state === 'disabled';
  return {
    seal(draft, path) {
      if (!supported) return;
      draft.closeForWriting();
      try {
        enableVerity(draft.file, algorithm);
      } catch (error) {
        // The file system was made without the feature or with blocks of less than 4096 bytes, or the kernel without the algorithm.
        if (!isErrno(error, 'EOPNOTSUPP', 'ENOTTY', 'ENOPKG', 'EINVAL')) throw error;
        supported = false;
        return;
      }
      requireMeasured(draft.file, path);
    },
  };
}

function requireMeasured(file: Fd, path: string): void {
  const measured = measureVerity(file);
  const found =
    measured.state === 'enabled' ? objectPath(verityDigestFromBytes(measured.algorithm, measured.digest)) : measured.state;
  if (found !== path) throw new Error(`the kernel finds ${found} where ${path} was computed`);
}
