// Watches the policy directories: once they have been quiet for a moment, and are not what was read, somebody is told.
import { dirname, join } from 'node:path';

import { isErrno } from '../core/kernel/error.js';
import { createInotify, readInotify, removeWatch, watchDirectory } from '../core/kernel/inotify.js';
import { watch } from '../core/kernel/poll.js';
import { statAt } from '../core/kernel/stat.js';
import { namesThatCount } from '../policy/files/directories.js';

export interface PolicyWatch {
  /** What is there now is being read: no need to tell of it. */
  noteRead(): void;
  stop(): void;
}

/** Milliseconds without an event, and most that the first may wait while others follow. */
const QUIET = 500;
const PATIENCE = 5_000;

/** Files with their inodes, owners, sizes and times: what differs has changed. */
function describeState(directories: readonly string[]): string {
  const files = directories.flatMap((directory) =>
    namesThatCount(directory)
      .sort()
      .map((name) => join(directory, name)),
  );
  return [...directories, ...files]
    .map((path) => {
      try {
        const { inode, uid, permissions, size, mtime, ctime, type } = statAt(null, path);
        // A directory changes with what is in it; what matters of that is listed.
        const content = type === 'directory' ? '' : `${inode} ${size} ${mtime} ${ctime}`;
        return `${path} ${type} ${uid} ${permissions} ${content}`;
      } catch (error) {
        if (isErrno(error, 'ENOENT', 'ENOTDIR')) return path;
        throw error;
      }
    })
    .join('\n');
}

/** Calls back when a file of the policy came, went or changed. Throws SyscallError where the kernel has no more watches. */
export function watchPolicy(directories: readonly string[], onChange: () => void): PolicyWatch {
  const inotify = createInotify();
  let watches = new Set<number>();
  let read = describeState(directories);
  let timer: NodeJS.Timeout | undefined;
  let firstEvent = 0;

  /** A directory that is not there yet appears in one above it. */
  function watchNearest(directory: string): number {
    try {
      return watchDirectory(inotify, directory);
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'ENOTDIR') || directory === '/') throw error;
      return watchNearest(dirname(directory));
    }
  }

  function watchAll(): void {
    const next = new Set(directories.map(watchNearest));
    for (const old of watches) if (!next.has(old)) forgetWatch(old);
    watches = next;
  }

  function forgetWatch(number: number): void {
    try {
      removeWatch(inotify, number);
    } catch (error) {
      if (!isErrno(error, 'EINVAL')) throw error; // its directory is gone
    }
  }

  function look(): void {
    timer = undefined;
    watchAll();
    if (describeState(directories) !== read) onChange();
  }

  function drain(): void {
    let any = false;
    while (readInotify(inotify).length > 0) any = true;
    if (!any) return;
    if (timer === undefined) firstEvent = performance.now();
    clearTimeout(timer);
    timer = setTimeout(look, Math.max(0, Math.min(QUIET, firstEvent + PATIENCE - performance.now())));
  }

  watchAll();
  const watcher = watch(inotify, drain);
  return {
    noteRead: () => void (read = describeState(directories)),
    stop() {
      clearTimeout(timer);
      watcher.stop();
      inotify.close();
    },
  };
}
