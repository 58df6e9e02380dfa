// Unix stream sockets with descriptors: what Node cannot do by itself.
import { isErrno, SyscallError } from './error.js';
import { type Closer, type Fd, OwnedFd } from './fd.js';
import { ioctlBuffer } from './ioctl.js';
import { addressOf, bind, EAGAIN } from './libc.js';

const socketCall = bind('socket', ['int', 'int', 'int']);
const socketpairCall = bind('socketpair', ['int', 'int', 'int', 'buffer']);
const bindCall = bind('bind', ['fd', 'buffer', 'u32']);
const listenCall = bind('listen', ['fd', 'int']);
const connectCall = bind('connect', ['fd', 'buffer', 'u32']);
const accept4Call = bind('accept4', ['fd', 'buffer?', 'buffer?', 'int']);
const sendmsgCall = bind('sendmsg', ['fd', 'buffer', 'int'], 'long', { expected: [EAGAIN] });
const recvmsgCall = bind('recvmsg', ['fd', 'buffer', 'int'], 'long', { expected: [EAGAIN] });
const getsockoptCall = bind('getsockopt', ['fd', 'int', 'int', 'buffer', 'buffer']);
const setsockoptCall = bind('setsockopt', ['fd', 'int', 'int', 'buffer', 'u32']);
const shutdownCall = bind('shutdown', ['fd', 'int']);
const fcntlArg = bind('fcntl', ['fd', 'int', 'int']);

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const SO_OOBINLINE = 10;
const SO_PEERCRED = 17;
const SO_PEERGROUPS = 59;
const SO_PEERPIDFD = 77; // Linux 6.5
const MSG_CTRUNC = 8;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const SHUT_RDWR = 2;
const FIONREAD = 0x541b; // asm-generic/ioctls.h
const F_SETFL = 4;
/** The most descriptors one message can carry (SCM_MAX_FD, net/scm.h). */
export const MAX_FDS = 253;

function encodeAddress(path: string): Buffer {
  const address = Buffer.alloc(2 + Buffer.byteLength(path) + 1);
  if (address.length > 110) throw new TypeError(`socket path longer than 107 bytes: ${path}`);
  address.writeUInt16LE(AF_UNIX, 0);
  address.write(path, 2);
  // An abstract name (first byte NUL) has no terminator.
  return path.startsWith('\0') ? address.subarray(0, -1) : address;
}

function openSocket(type: number): OwnedFd {
  return OwnedFd.adopt(socketCall(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

/** Connects to a stream socket; a path that begins with NUL is an abstract name. The socket does not block. */
export function connectStream(path: string): OwnedFd {
  const address = encodeAddress(path);
  const socket = openSocket(SOCK_STREAM);
  try {
    connectCall(socket.raw, address, address.length);
    return socket;
  } catch (error) {
    socket.close();
    throw error;
  }
}

/** Sends one datagram with descriptors, as sd_notify does. */
export function sendDatagram(path: string, message: Uint8Array, fds: readonly Fd[]): void {
  using socket = openSocket(SOCK_DGRAM);
  const address = encodeAddress(path);
  connectCall(socket.raw, address, address.length);
  send(socket, message, fds);
}

export function listenStream(path: string, backlog: number): OwnedFd {
  const address = encodeAddress(path);
  const socket = openSocket(SOCK_STREAM);
  try {
    bindCall(socket.raw, address, address.length);
    listenCall(socket.raw, backlog);
    return socket;
  } catch (error) {
    socket.close();
    throw error;
  }
}

/** The next waiting connection, null if there is none. Neither socket blocks. */
export function acceptStream(listener: Fd): OwnedFd | null {
  let socket: OwnedFd;
  try {
    socket = OwnedFd.adopt(accept4Call(listener.raw, null, null, SOCK_CLOEXEC | SOCK_NONBLOCK));
  } catch (error) {
    if (isErrno(error, 'EAGAIN', 'ECONNABORTED')) return null;
    throw error;
  }
  try {
    takeUrgentInline(socket);
    return socket;
  } catch (error) {
    socket.close();
    throw error;
  }
}

/**
 * Makes bytes sent out of band (Linux 5.15) ordinary ones. Otherwise recvmsg(2) throws them away and closes, there and then, the descriptors
 * that came with them, which may hang.
 */
function takeUrgentInline(socket: Fd): void {
  const on = Buffer.alloc(4);
  on.writeInt32LE(1);
  setsockoptCall(socket.raw, SOL_SOCKET, SO_OOBINLINE, on, on.length);
}

/** Ends a stream in both directions: nothing more can come. True if nothing waits in it, so that closing it closes no descriptor of the peer's. */
export function endStream(socket: Fd): boolean {
  const bytes = Buffer.alloc(4);
  try {
    shutdownCall(socket.raw, SHUT_RDWR);
    ioctlBuffer(socket.raw, FIONREAD, bytes);
    return bytes.readInt32LE() === 0;
  } catch (error) {
    if (error instanceof SyscallError) return false;
    throw error;
  }
}

export function makeNonBlocking(socket: Fd): void {
  fcntlArg(socket.raw, F_SETFL, SOCK_NONBLOCK);
}

export function socketPair(): [OwnedFd, OwnedFd] {
  const pair = Buffer.alloc(8);
  socketpairCall(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair);
  return [OwnedFd.adopt(pair.readInt32LE(0)), OwnedFd.adopt(pair.readInt32LE(4))];
}

// One set of buffers for all calls: they are synchronous, and the structures hold each other's addresses.
const control = Buffer.allocUnsafeSlow(16 + 4 * MAX_FDS + 4);
const vector = Buffer.allocUnsafeSlow(16); // struct iovec
const header = Buffer.alloc(56); // struct msghdr
header.writeBigUInt64LE(addressOf(vector), 16);
header.writeBigUInt64LE(1n, 24);

function aimAt(data: Uint8Array, controlLength: number): void {
  vector.writeBigUInt64LE(addressOf(data), 0);
  vector.writeBigUInt64LE(BigInt(data.length), 8);
  header.writeBigUInt64LE(controlLength === 0 ? 0n : addressOf(control), 32);
  header.writeBigUInt64LE(BigInt(controlLength), 40);
  header.writeInt32LE(0, 48);
}

/** Sends bytes and, with the first of them, descriptors. Returns how many bytes went, null if the peer's queue is full. */
export function send(socket: Fd, data: Uint8Array, fds: readonly Fd[] = []): number | null {
  if (fds.length > MAX_FDS) throw new TypeError(`${fds.length} descriptors in one message`);
  const length = fds.length === 0 ? 0 : 16 + 4 * fds.length;
  control.writeBigUInt64LE(BigInt(length), 0); // struct cmsghdr
  control.writeInt32LE(SOL_SOCKET, 8);
  control.writeInt32LE(SCM_RIGHTS, 12);
  fds.forEach((fd, i) => control.writeInt32LE(fd.raw, 16 + 4 * i));
  aimAt(data, length === 0 ? 0 : (length + 7) & ~7);
  const sent = sendmsgCall(socket.raw, header, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent < 0 ? null : sent;
}

export interface Received {
  /** Bytes now in the buffer; 0 when the peer closed its side. */
  readonly bytes: number;
  readonly fds: OwnedFd[];
  /** Descriptors were lost on the way (MSG_CTRUNC): the stream can not be trusted any more. */
  readonly truncated: boolean;
}

function adoptControl(closer: Closer | undefined): OwnedFd[] {
  const fds: OwnedFd[] = [];
  const end = Number(header.readBigUInt64LE(40));
  for (let at = 0; at + 16 <= end;) {
    const length = Number(control.readBigUInt64LE(at));
    const rights = control.readInt32LE(at + 8) === SOL_SOCKET && control.readInt32LE(at + 12) === SCM_RIGHTS;
    for (let i = at + 16; rights && i + 4 <= at + length; i += 4) fds.push(OwnedFd.adopt(control.readInt32LE(i), closer));
    at += (length + 7) & ~7;
  }
  return fds;
}

/** Receives what is there, descriptors close-on-exec and owned by the caller (closed by `closer`); null if there is nothing yet. */
export function receive(socket: Fd, buffer: Uint8Array, closer?: Closer): Received | null {
  aimAt(buffer, control.length);
  const bytes = recvmsgCall(socket.raw, header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (bytes < 0) return null;
  return { bytes, fds: adoptControl(closer), truncated: (header.readInt32LE(48) & MSG_CTRUNC) !== 0 };
}

function socketOption(socket: Fd, option: number, size: number): Buffer {
  const value = Buffer.alloc(size);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(size, 0);
  getsockoptCall(socket.raw, SOL_SOCKET, option, value, length);
  return value.subarray(0, length.readUInt32LE(0));
}

/** Who was on the other side when the connection was made, as the kernel recorded it, in the ids of this namespace. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

export function peerCredentials(socket: Fd): PeerCredentials {
  const ucred = socketOption(socket, SO_PEERCRED, 12);
  return {
    pid: ucred.readInt32LE(0),
    uid: ucred.readUInt32LE(4),
    gid: ucred.readUInt32LE(8),
  };
}

/** Supplementary groups of the peer when the connection was made; up to 65,536. */
export function peerGroups(socket: Fd): number[] {
  const few = 4 * 64;
  let groups: Buffer;
  try {
    groups = socketOption(socket, SO_PEERGROUPS, few);
  } catch (error) {
    if (!isErrno(error, 'ERANGE')) throw error;
    groups = socketOption(socket, SO_PEERGROUPS, 4 * 65536); // NGROUPS_MAX
  }
  return Array.from({ length: groups.length / 4 }, (_, i) => groups.readUInt32LE(4 * i));
}

/** A pidfd of the peer process (Linux 6.5); undefined where the kernel cannot tell. Throws ESRCH or EINVAL if the peer is gone; since 6.16 that is told only when it is used. */
export function peerPidfd(socket: Fd): OwnedFd | undefined {
  try {
    return OwnedFd.adopt(socketOption(socket, SO_PEERPIDFD, 4).readInt32LE(0));
  } catch (error) {
    if (isErrno(error, 'ENOPROTOOPT')) return undefined;
    throw error;
  }
}
