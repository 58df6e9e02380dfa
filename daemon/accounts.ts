// Live mounts, counted exactly: each mount has a superblock of its own, and the kernel says when it dies, wherever it was attached.
import { readFileSync } from 'node:fs';

import type { VerityDigest } from '../core/image/digest.js';
import { isErrno } from '../core/kernel/error.js';
import type { OwnedFd } from '../core/kernel/fd.js';
import { procPath } from '../core/kernel/file.js';
import { createInotify, IN_IGNORED, IN_Q_OVERFLOW, IN_UNMOUNT, readInotify, watchUnmount } from '../core/kernel/inotify.js';
import { watch } from '../core/kernel/poll.js';
import { RequestError } from '../core/wire/errors.js';

export interface LiveMount {
  readonly id: bigint;
  /** Host uid of the caller it was made for. */
  readonly uid: number;
  /** Host uid whose limit it counts against. */
  readonly payer: number;
  readonly digest: VerityDigest;
  readonly rule: string;
  /** Milliseconds since 1970. */
  readonly since: number;
  /** Inode number of the user namespace. */
  readonly userns: bigint;
  readonly type: 'composefs' | 'erofs';
}

/** Room for one more mount of a user: turned into a live mount, or given back when disposed. */
export interface Reservation {
  /** Counts the mount from now until its superblock dies. `mount` is a descriptor of its root. */
  confirm(mount: OwnedFd, facts: Omit<LiveMount, 'id' | 'payer' | 'since'>): LiveMount;
  [Symbol.dispose](): void;
}

export interface Accounts {
  /** Throws QuotaExceeded when the user has `limit` mounts, live or in the making. */
  reserve(payer: number, limit: number): Reservation;
  list(): LiveMount[];
  count(): number;
  close(): void;
}

export function openAccounts(onChange: (event: 'mounted' | 'released', mount: LiveMount) => void): Accounts {
  const inotify = createInotify();
  const live = new Map<number, LiveMount>();
  /** Mounts of each payer, live and in the making. */
  const held = new Map<number, number>();
  let nextId = 1n;

  function addHeld(payer: number, difference: 1 | -1): void {
    const count = (held.get(payer) ?? 0) + difference;
    if (count === 0) held.delete(payer);
    else held.set(payer, count);
  }

  function release(watchNumber: number): void {
    const mount = live.get(watchNumber);
    if (!mount) return;
    live.delete(watchNumber);
    addHeld(mount.payer, -1);
    onChange('released', mount);
  }

  /** After a queue overflow: the kernel lists the watches that still stand, one `inotify wd:<hex>` line each. */
  function releaseUnlisted(): void {
    const listed = readFileSync(`/proc/self/fdinfo/${inotify.raw}`, 'utf8');
    const standing = new Set([...listed.matchAll(/^inotify wd:([0-9a-f]+) /gm)].map((match) => parseInt(match[1]!, 16)));
    for (const number of [...live.keys()]) if (!standing.has(number)) release(number);
  }

  function drain(): void {
    for (let events = readInotify(inotify); events.length > 0; events = readInotify(inotify)) {
      for (const event of events) {
        if (event.mask & IN_Q_OVERFLOW) releaseUnlisted();
        else if (event.mask & (IN_UNMOUNT | IN_IGNORED)) release(event.watch);
      }
    }
  }
  const watcher = watch(inotify, drain);

  /** To watch a directory takes the right to read it, which not even root has over ids that the mount does not map. */
  function watchOrExplain(mount: OwnedFd): number {
    try {
      return watchUnmount(inotify, procPath(mount));
    } catch (error) {
      if (!isErrno(error, 'EACCES')) throw error;
      const message =
        'the root directory of the image is closed to all but its owner, an id that your user namespace does not map';
      const hint = 'mount it in a namespace with more ids: podman unshare cfsctl mount …';
      throw new RequestError('BadUserNamespace', message, { hint, cause: error });
    }
  }

  function confirm(payer: number, mount: OwnedFd, facts: Omit<LiveMount, 'id' | 'payer' | 'since'>): LiveMount {
    const entry: LiveMount = { ...facts, payer, id: nextId, since: Date.now() };
    live.set(watchOrExplain(mount), entry);
    nextId += 1n;
    onChange('mounted', entry);
    return entry;
  }

  return {
    reserve(payer, limit) {
      drain();
      if ((held.get(payer) ?? 0) >= limit) {
        throw new RequestError('QuotaExceeded', `uid ${payer} has ${limit} live mounts, the most the policy allows`, {
          hint: 'unmount some, or ask the administrator to raise mounts-per-user in [limits]',
        });
      }
      addHeld(payer, 1);
      let open = true;
      return {
        confirm(mount, facts) {
          const entry = confirm(payer, mount, facts);
          open = false; // from here the superblock's death gives the room back
          return entry;
        },
        [Symbol.dispose]() {
          if (open) addHeld(payer, -1);
          open = false;
        },
      };
    },
    list: () => [...live.values()],
    count: () => live.size,
    close() {
      watcher.stop();
      inotify.close();
    },
  };
}
