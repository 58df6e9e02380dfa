// Everything that a leaking daemon would have more and more of.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

import { OwnedFd } from '../../core/kernel/fd.js';
import { O_RDONLY, openPath } from '../../core/kernel/file.js';
import { bind } from '../../core/kernel/libc.js';
import { openFds, readStatus } from '../support/daemon.js';

const ioctlCall = bind('ioctl', ['fd', 'u64', 'buffer']);
/** linux/nsfs.h NS_MNT_GET_INFO: _IOR(0xb7, 10, struct mnt_ns_info {u32 size; u32 nr_mounts; u64 mnt_ns_id}), Linux 6.12. */
const NS_MNT_GET_INFO = 0x8010b70an;

export interface Census {
  readonly fds: number;
  /** Of all mount namespaces that the daemon's threads are in or that it holds open. */
  readonly mounts: number;
  readonly mountNamespaces: number;
  /** Other namespaces it holds open: the user namespaces of callers. */
  readonly otherNamespaces: number;
  /** Loop devices over files below the daemon's state directory. */
  readonly loops: number;
  readonly threads: number;
  readonly children: number;
  /** In KiB. */
  readonly rss: number;
}

function mountsOf(path: string): number {
  using namespace: OwnedFd = openPath(path, O_RDONLY);
  const info = Buffer.alloc(16);
  ioctlCall(namespace.raw, NS_MNT_GET_INFO, info);
  return info.readUInt32LE(4);
}

function orNone<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined; // gone between one look and the next
  }
}

function mountNamespaces(pid: number, fds: ReadonlyMap<number, string>): Map<string, string> {
  const found = new Map<string, string>();
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const path = `/proc/${pid}/task/${thread}/ns/mnt`;
    const name = orNone(() => readlinkSync(path));
    if (name !== undefined) found.set(name, path);
  }
  for (const [number, name] of fds) if (name.startsWith('mnt:')) found.set(name, `/proc/${pid}/fd/${number}`);
  // The host's own mounts are everybody's business.
  found.delete(readlinkSync('/proc/self/ns/mnt'));
  return found;
}

function countLoops(below: string): number {
  const devices = readdirSync('/sys/block').filter((name) => name.startsWith('loop'));
  const files = devices.map((name) => orNone(() => readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8')));
  return files.filter((file) => file !== undefined && file.includes(below)).length;
}

/** `loopMark`: what the names of the files behind the daemon's loop devices have in common. */
export function takeCensus(pid: number, loopMark: string): Census {
  const fds = openFds(pid);
  const namespaces = mountNamespaces(pid, fds);
  const counts = [...namespaces.values()].map((path) => orNone(() => mountsOf(path)) ?? 0);
  const others = new Set([...fds.values()].filter((name) => /^(user|pid|net):\[/.test(name)));
  return {
    fds: fds.size,
    mounts: counts.reduce((sum, count) => sum + count, 0),
    mountNamespaces: namespaces.size,
    otherNamespaces: others.size,
    loops: countLoops(loopMark),
    threads: readdirSync(`/proc/${pid}/task`).length,
    children: (orNone(() => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')) ?? '').split(' ').filter(Boolean).length,
    rss: parseInt(readStatus(pid, 'VmRSS'), 10),
  };
}
