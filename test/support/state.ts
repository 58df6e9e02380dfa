// What a daemon holds of the host: everything that has to be as before once a request is over, however it ended.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

import { O_RDONLY, openPath } from '../../core/kernel/file.js';
import { ioctlBuffer } from '../../core/kernel/ioctl.js';
import { listmount } from '../../core/kernel/mount-info.js';
import { openFds } from './daemon.js';
import { run } from './machine.js';

export interface HeldState {
  /** Open descriptors by kind: a path, or "socket", "mnt", "user", "anon_inode:…". */
  readonly fds: Readonly<Record<string, number>>;
  /** Mounts in each mount namespace it holds or has a thread in, by number of the namespace, and images mounted on the host. */
  readonly mounts: Readonly<Record<string, number>>;
  readonly loopDevices: number;
  /** Processes it started that still exist, zombies too. */
  readonly children: number;
}

// linux/nsfs.h: _IOR(0xb7, 5, __u64)
const NS_GET_MNTNS_ID = 0x8008b705;

function mountsIn(path: string): number {
  using namespace = openPath(path, O_RDONLY);
  const id = Buffer.alloc(8);
  ioctlBuffer(namespace.raw, NS_GET_MNTNS_ID, id);
  return listmount(id.readBigUInt64LE(0)).length;
}

function countKinds(fds: ReadonlyMap<number, string>): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const target of fds.values()) {
    const kind = target.replace(/:\[\d+\]$/, '').replace(/^\/proc\/\d+.*/, '/proc');
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

/** Mounts of images in the host's namespace, where the daemon never attaches any. */
export function imagesOnHost(): number {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => / - (erofs|overlay) /.test(line)).length;
}

/** Loop devices over files of the daemon's store of copies. */
function loopsOver(fds: ReadonlyMap<number, string>): number {
  const store = [...fds.values()].find((target) => /\/copies\/[0-9a-f-]{36}$/.test(target));
  const files = run('losetup', '--list', '--noheadings', '--output', 'BACK-FILE').split('\n');
  return files.filter((file) => store !== undefined && file.startsWith(store)).length;
}

/** Processes whose parent is this one, zombies included. */
export function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return readFileSync(`/proc/${name}/stat`, 'latin1').split(') ')[1]?.split(' ')[1] === String(pid);
      } catch {
        return false; // it has ended
      }
    })
    .map(Number);
}

const threadsOf = (pid: number): string[] => readdirSync(`/proc/${pid}/task`);

function linkOrGone(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

export function heldState(pid: number): HeldState {
  const fds = openFds(pid);
  const namespaces: Record<string, string> = {};
  for (const [fd, target] of fds) if (target.startsWith('mnt:')) namespaces[target] = `/proc/${pid}/fd/${fd}`;
  // A thread that stands in a namespace keeps it alive as well as a descriptor does.
  for (const thread of threadsOf(pid)) {
    const path = `/proc/${pid}/task/${thread}/ns/mnt`;
    const name = linkOrGone(path);
    if (name !== undefined && name !== readlinkSync('/proc/self/ns/mnt')) namespaces[name] ??= path;
  }
  return {
    fds: countKinds(fds),
    mounts: {
      ...Object.fromEntries(Object.entries(namespaces).map(([name, path]) => [name, mountsIn(path)])),
      host: imagesOnHost(),
    },
    loopDevices: loopsOver(openFds(pid)),
    children: childrenOf(pid).length,
  };
}

/** Descriptors that refer to a path. */
export function countFdsOf(pid: number, path: string): number {
  return [...openFds(pid).values()].filter((target) => target === path).length;
}
