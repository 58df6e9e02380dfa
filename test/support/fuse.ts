// A file system of the caller's own with one file, that answers what it likes, when it likes. It is served on the event loop, so no process may
// both serve it and use it: one that dies would wait for itself.
import { execFile } from 'node:child_process';
import { mkdirSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { isErrno } from '../../core/kernel/error.js';
import type { OwnedFd } from '../../core/kernel/fd.js';
import { O_NONBLOCK, O_RDWR, openPath, read } from '../../core/kernel/file.js';
import { fsconfigCreate, fsconfigString, fsmount, fsopen, moveMount } from '../../core/kernel/mount.js';
import { watch } from '../../core/kernel/poll.js';

// linux/fuse.h
const LOOKUP = 1;
const FORGET = 2;
const GETATTR = 3;
const OPEN = 14;
const READ = 15;
const STATFS = 17;
const RELEASE = 18;
const FLUSH = 25;
const INIT = 26;
const OPENDIR = 27;
const RELEASEDIR = 29;
const INTERRUPT = 36;
const BATCH_FORGET = 42;
const HEADER = 40;
const ROOT_NODE = 1n;
const FILE_NODE = 2n;
const ENOENT = 2;
const EIO = 5;
const ENOSYS = 38;
const FOREVER = 1_000_000n; // seconds for which the kernel may believe what it was told

/** An errno, 0 for success, or no answer at all until the behaviour changes. */
export type FuseAnswer = number | 'never';

export interface FuseBehaviour {
  /** Bytes of the file, all zero. */
  readonly size: number;
  readonly onRead: FuseAnswer;
  /** For each close(2) of the file. */
  readonly onFlush: FuseAnswer;
}

/** What a behaviour may become. */
export type FuseChange = Partial<Pick<FuseBehaviour, 'onRead' | 'onFlush'>>;

function attributes(node: bigint, size: number): Buffer {
  const attr = Buffer.alloc(88); // struct fuse_attr
  attr.writeBigUInt64LE(node, 0);
  attr.writeBigUInt64LE(BigInt(size), 8);
  attr.writeUInt32LE(node === ROOT_NODE ? 0o040755 : 0o100644, 60);
  attr.writeUInt32LE(1, 64);
  attr.writeUInt32LE(4096, 80);
  return attr;
}

function foundFile(size: number): Buffer {
  const entry = Buffer.alloc(40); // struct fuse_entry_out
  entry.writeBigUInt64LE(FILE_NODE, 0);
  entry.writeBigUInt64LE(FOREVER, 16);
  entry.writeBigUInt64LE(FOREVER, 24);
  return Buffer.concat([entry, attributes(FILE_NODE, size)]);
}

function knownAttributes(node: bigint, size: number): Buffer {
  const valid = Buffer.alloc(16); // struct fuse_attr_out
  valid.writeBigUInt64LE(FOREVER, 0);
  return Buffer.concat([valid, attributes(node, size)]);
}

function initialized(): Buffer {
  const out = Buffer.alloc(64); // struct fuse_init_out
  out.writeUInt32LE(7, 0);
  out.writeUInt32LE(31, 4);
  out.writeUInt32LE(131_072, 20); // max_write
  return out;
}

function statistics(): Buffer {
  const out = Buffer.alloc(80); // struct fuse_statfs_out
  out.writeUInt32LE(4096, 40);
  out.writeUInt32LE(255, 44); // the longest name
  return out;
}

interface Answer {
  readonly errno: FuseAnswer;
  readonly body?: Buffer;
}

/** What a request is answered with; undefined for those that want no answer. */
function answerTo(request: Buffer, { size, onRead, onFlush }: FuseBehaviour): Answer | undefined {
  const node = request.readBigUInt64LE(16);
  switch (request.readUInt32LE(4)) {
    case FORGET:
    case BATCH_FORGET:
    case INTERRUPT:
      return undefined;
    case INIT:
      return { errno: 0, body: initialized() };
    case GETATTR:
      return { errno: 0, body: knownAttributes(node, size) };
    case LOOKUP:
      return request.toString('latin1', HEADER).startsWith('file\0') ? { errno: 0, body: foundFile(size) } : { errno: ENOENT };
    case OPEN:
    case OPENDIR:
      return { errno: 0, body: Buffer.alloc(16) };
    case READ:
      return { errno: onRead, body: Buffer.alloc(Math.max(0, Math.min(request.readUInt32LE(HEADER + 16), size))) };
    case STATFS:
      return { errno: 0, body: statistics() };
    case FLUSH:
      return { errno: onFlush };
    case RELEASE:
    case RELEASEDIR:
      return { errno: 0 };
    default:
      return { errno: ENOSYS };
  }
}

/** Answers the requests of a device. */
function serve(device: OwnedFd, initial: FuseBehaviour): Pick<FuseMount, 'behave' | 'waiting'> {
  const unanswered: bigint[] = [];
  const buffer = Buffer.alloc(256 * 1024);
  let behaviour = initial;

  function reply(unique: bigint, errno: number, body: Buffer = Buffer.alloc(0)): void {
    const message = Buffer.concat([Buffer.alloc(16), errno === 0 ? body : Buffer.alloc(0)]); // struct fuse_out_header
    message.writeUInt32LE(message.length, 0);
    message.writeInt32LE(-errno, 4);
    message.writeBigUInt64LE(unique, 8);
    try {
      writeSync(device.raw, message);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error; // nobody waits for it any more
    }
  }

  function take(): Buffer | undefined {
    try {
      return buffer.subarray(0, read(device, buffer));
    } catch (error) {
      if (isErrno(error, 'EAGAIN', 'ENOENT')) return undefined;
      throw error;
    }
  }

  watch(device, () => {
    for (let request = take(); request; request = take()) {
      const unique = request.readBigUInt64LE(8);
      const answer = answerTo(request, behaviour);
      if (!answer) continue;
      if (answer.errno === 'never') unanswered.push(unique);
      else reply(unique, answer.errno, answer.body);
    }
  });
  return {
    behave(change) {
      behaviour = { ...behaviour, ...change };
      for (const unique of unanswered.splice(0)) reply(unique, EIO);
    },
    waiting: () => unanswered.length,
  };
}

export interface FuseMount {
  /** Path of the file in this process's mount namespace. */
  readonly path: string;
  /** Changes how it behaves from now on; what waits for an answer gets an error. */
  readonly behave: (change: FuseChange) => void;
  /** Requests that wait for an answer. */
  readonly waiting: () => number;
}

/**
 * Mounts it in this process's mount namespace, below a directory. `device` is a /dev/fuse that may be opened. With `overlaid` the file is
 * seen through an overlay: FUSE shows its files to their owner alone, an overlay of the owner's to whoever may look.
 */
export async function mountFuse(
  device: string,
  directory: string,
  behaviour: FuseBehaviour,
  overlaid: boolean,
): Promise<FuseMount> {
  const fuse = openPath(device, O_RDWR | O_NONBLOCK);
  const context = fsopen('fuse');
  const options = { fd: String(fuse.raw), rootmode: '40000', user_id: '0', group_id: '0' };
  for (const [key, value] of Object.entries(options)) fsconfigString(context, key, value);
  fsconfigCreate(context);
  const tmpfs = fsopen('tmpfs');
  fsconfigCreate(tmpfs);
  for (const [detached, path] of [
    [fsmount(tmpfs, 0), directory],
    [fsmount(context, 0), join(directory, 'fuse')],
  ] as const) {
    moveMount(detached, null, path);
    detached.close();
    if (path === directory) for (const name of ['fuse', 'empty', 'overlay']) mkdirSync(join(directory, name));
  }
  context.close();
  tmpfs.close();
  const server = serve(fuse, behaviour);
  if (!overlaid) return { path: join(directory, 'fuse/file'), ...server };
  const layers = `lowerdir=${join(directory, 'empty')}:${join(directory, 'fuse')}`;
  await promisify(execFile)('mount', ['-t', 'overlay', 'overlay', '-o', layers, join(directory, 'overlay')]);
  return { path: join(directory, 'overlay/file'), ...server };
}
