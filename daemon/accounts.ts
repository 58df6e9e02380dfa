// Live mounts, counted exactly: each mount has a superblock of its own, and the kernel says when it dies, wherever it was attached.
import { readFileSync } from 'node:fs';

import { isErrno } from '../core/kernel/error.js';
import type { OwnedFd } from '../core/kernel/fd.js';
import { procPath } from '../core/kernel/file.js';
import { IN_IGNORED, IN_Q_OVERFLOW, IN_UNMOUNT, readInotify, watchUnmount } from '../core/kernel/inotify.js';
import { watch } from '../core/kernel/poll.js';
import { RequestError } from '../core/wire/errors.js';
import type { Limits } from '../policy/policy.js';
import type { Ledger } from './ledger.js';
import type { LiveMount } from './live-mount.js';
import { createRate } from './rate.js';

/** Room for one more mount of a user: turned into a live mount, or given back when disposed. */
export interface Reservation {
  /** Counts the mount from now until its superblock dies. `mount` is a descriptor of its root. */
  confirm(mount: OwnedFd, facts: Omit<LiveMount, 'id' | 'payer' | 'since'>): LiveMount;
  [Symbol.dispose](): void;
}

export interface Accounts {
  /** Throws QuotaExceeded when the user, or all users together, have as many mounts as they may, live or in the making, or the user got too many of late. */
  reserve(payer: number, limits: Limits): Reservation;
  list(): LiveMount[];
  count(): number;
  close(): void;
}

/** Goes on where the ledger stands, which becomes the accounts'. */
export function openAccounts(ledger: Ledger, onChange: (event: 'mounted' | 'released', mount: LiveMount) => void): Accounts {
  const { inotify, table } = ledger;
  const live = table.mounts();
  /** Mounts of each payer, live and in the making. */
  const held = new Map<number, number>();
  let total = 0;
  const rate = createRate();

  function addHeld(payer: number, difference: 1 | -1): void {
    const count = (held.get(payer) ?? 0) + difference;
    total += difference;
    if (count === 0) held.delete(payer);
    else held.set(payer, count);
  }

  function release(watchNumber: number): void {
    const mount = live.get(watchNumber);
    if (!mount) return;
    table.remove(watchNumber);
    addHeld(mount.payer, -1);
    onChange('released', mount);
  }

  /**
   * After a queue overflow, or when a process that is gone may have read events: the kernel lists the watches that still stand, one
   * `inotify wd:<hex>` line each.
   */
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
  for (const { payer } of live.values()) addHeld(payer, 1);
  releaseUnlisted();
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
    const watchNumber = watchOrExplain(mount);
    const entry: LiveMount = { ...facts, payer, id: table.nextId(), since: Date.now() };
    table.put(watchNumber, entry);
    onChange('mounted', entry);
    return entry;
  }

  function requireRoom(payer: number, { mountsPerUser, mountsTotal }: Limits): void {
    if ((held.get(payer) ?? 0) >= mountsPerUser) {
      throw new RequestError('QuotaExceeded', `uid ${payer} has ${mountsPerUser} live mounts, the most the policy allows`, {
        hint: 'unmount some, or ask the administrator to raise mounts-per-user in [limits]',
      });
    }
    if (mountsTotal !== null && total >= mountsTotal) {
      throw new RequestError('QuotaExceeded', `all users together have ${mountsTotal} live mounts, the most the policy allows`, {
        hint: 'try again later, or ask the administrator to raise mounts-total in [limits]',
      });
    }
  }

  return {
    reserve(payer, limits) {
      drain();
      requireRoom(payer, limits);
      const giveBack = limits.mountsPerMinute === null ? undefined : rate.take(payer, limits.mountsPerMinute);
      addHeld(payer, 1);
      let open = true;
      return {
        confirm(mount, facts) {
          const entry = confirm(payer, mount, facts);
          open = false; // from here the superblock's death gives the room back
          return entry;
        },
        [Symbol.dispose]() {
          if (open) {
            addHeld(payer, -1);
            giveBack?.();
          }
          open = false;
        },
      };
    },
    list: () => [...live.values()],
    count: () => live.size,
    close() {
      watcher.stop();
      ledger.close();
    },
  };
}
