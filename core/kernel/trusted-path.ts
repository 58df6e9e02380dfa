// Who can change what the programs believe: files and directories of their own must be root's alone.
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { isErrno } from './error.js';
import { statAt, type FileStatus } from './stat.js';

const STICKY = 0o1000;

function writers(status: FileStatus): string | undefined {
  if (status.uid !== 0) return `belongs to uid ${status.uid}`;
  if (status.permissions & 0o022) return 'is writable by others than root';
  return undefined;
}

/**
 * Says why somebody other than root could replace what is at an absolute path; undefined if nobody can. In a sticky directory
 * (/tmp) nobody can rename root's entries, so one may stand above.
 */
export function whyReplaceable(path: string): string | undefined {
  const status = statAt(null, path);
  if (status.type === 'symlink') return `${path} is a symbolic link`;
  const own = writers(status);
  if (own) return `${path} ${own}; chown root and chmod go-w it`;
  return whyEntriesReplaceable(dirname(path));
}

/** As `whyReplaceable`, for what root would make in a directory. */
export function whyEntriesReplaceable(path: string): string | undefined {
  for (let directory = path; ; directory = dirname(directory)) {
    const above = statAt(null, directory);
    const why = above.permissions & STICKY && above.uid === 0 ? undefined : writers(above);
    if (why) return `${directory} ${why}`;
    if (directory === dirname(directory)) return undefined;
  }
}

/** As `whyReplaceable`, for a directory and everything below it; symlinks inside are not followed. */
export function whyTreeReplaceable(path: string): string | undefined {
  return whyReplaceable(path) ?? whyBelowReplaceable(path);
}

function whyBelowReplaceable(directory: string): string | undefined {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    let status: FileStatus;
    try {
      status = statAt(null, path);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) continue; // another tool is at work in the store
      throw error;
    }
    const why = status.type === 'symlink' ? undefined : writers(status);
    if (why) return `${path} ${why}; chown root and chmod go-w it`;
    const below = status.type === 'directory' ? whyBelowReplaceable(path) : undefined;
    if (below) return below;
  }
  return undefined;
}
