// Watches the policy directories: once they have been quiet for a moment, and are not what was read, somebody is told.
import { dirname, join } from 'node:path';

import { isErrno, SyscallError } from '../core/kernel/error.js';
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

/** Files with their inodes, owners, sizes and times: what differs has changed. What cannot be looked at is a state like any other. */
function describeState(directories: readonly string[]): string {
  return directories.flatMap((directory) => [describe(directory), ...filesOf(directory).map(describe)]).join('\n');
}

function filesOf(directory: string): string[] {
  try {
    return namesThatCount(directory)
      .sort()
      .map((name) => join(directory, name));
  } catch {
    return []; // not a directory: reading the policy will say so
  }
}

function describe(path: string): string {
  try {
    const { inode, uid, permissions, size, mtime, ctime, type } = statAt(null, path);
    // A directory changes with what is in it; what matters of that is listed.
    const content = type === 'directory' ? '' : `${inode} ${size} ${mtime} ${ctime}`;
    return `${path} ${type} ${uid} ${permissions} ${content}`;
  } catch (error) {
    return `${path} ${String(error)}`;
  }
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
    try {
      watchAll();
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error; // else: the watches that stand have to do
    }
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
