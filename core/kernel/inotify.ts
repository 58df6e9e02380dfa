import { type Fd, OwnedFd } from './fd.js';
import { bind, EAGAIN } from './libc.js';

const inotifyInit1 = bind('inotify_init1', ['int']);
const inotifyAddWatch = bind('inotify_add_watch', ['fd', 'path', 'u32']);
const readCall = bind('read', ['fd', 'buffer', 'u64'], 'long', { expected: [EAGAIN] });
const inotifyRmWatch = bind('inotify_rm_watch', ['fd', 'int']);

// linux/inotify.h
const IN_CLOEXEC = 0o2000000;
const IN_NONBLOCK = 0o4000;
export const IN_UNMOUNT = 0x2000;
export const IN_Q_OVERFLOW = 0x4000;
export const IN_IGNORED = 0x8000;
const IN_DELETE_SELF = 0x400;
/** IN_MODIFY, IN_ATTRIB, IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_MOVE_SELF */
const ANY_CHANGE = 0x2 | 0x4 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200 | IN_DELETE_SELF | 0x800;
const IN_ONLYDIR = 0x0100_0000;

export interface InotifyEvent {
  readonly watch: number;
  readonly mask: number;
}

export function createInotify(): OwnedFd {
  return OwnedFd.adopt(inotifyInit1(IN_CLOEXEC | IN_NONBLOCK));
}

/**
 * Watches an inode for the death of its superblock. The watch does not keep the superblock alive. IN_UNMOUNT is always
 * reported; IN_DELETE_SELF stands in the mask only because it may not be empty (a mounted root is never deleted).
 */
export function watchUnmount(inotify: Fd, path: string): number {
  return inotifyAddWatch(inotify.raw, path, IN_DELETE_SELF);
}

/** Watches a directory and what is in it for changes; the same number again for a directory that is watched already. */
export function watchDirectory(inotify: Fd, path: string): number {
  return inotifyAddWatch(inotify.raw, path, ANY_CHANGE | IN_ONLYDIR);
}

export function removeWatch(inotify: Fd, watch: number): void {
  inotifyRmWatch(inotify.raw, watch);
}

const buffer = Buffer.allocUnsafeSlow(4096);

/** Events that are waiting, some hundred at most; none when all have been read. */
export function readInotify(inotify: Fd): InotifyEvent[] {
  const length = readCall(inotify.raw, buffer, buffer.length);
  const events: InotifyEvent[] = [];
  for (let at = 0; at < length; at += 16 + buffer.readUInt32LE(at + 12)) {
    events.push({ watch: buffer.readInt32LE(at), mask: buffer.readUInt32LE(at + 4) });
  }
  return events;
}
