import { cloneFile } from '../../core/kernel/durable.js';
import { isErrno } from '../../core/kernel/error.js';
import type { Fd } from '../../core/kernel/fd.js';
import { truncate } from '../../core/kernel/file.js';
import { statFd } from '../../core/kernel/stat.js';
import type { SizedFile } from './file-hasher.js';

/** Copies that share blocks with their source, where the file system has that (XFS, Btrfs, …) and both are on the same one. */
export interface Sharing {
  /** False if a file of the same file system was refused before. */
  isPossible(source: SizedFile): boolean;
  /** Makes the empty target share the source's blocks. Then it has the size said, and what happens to the source does not change it; else it is empty still. */
  clone(source: SizedFile, target: Fd): boolean;
}

export function createSharing(): Sharing {
  /** Device numbers of file systems. */
  const refused = new Set<bigint>();
  return {
    isPossible: ({ file }) => !refused.has(statFd(file).device),
    clone({ file, size }, target) {
      const { device } = statFd(file);
      if (refused.has(device)) return false;
      try {
        cloneFile(file, target);
      } catch (error) {
        if (!isErrno(error, 'EOPNOTSUPP', 'EXDEV', 'EINVAL', 'ENOTTY', 'EPERM')) throw error;
        refused.add(device);
        return false;
      }
      if (statFd(target).size === size) return true;
      truncate(target, 0);
      return false;
    },
  };
}
