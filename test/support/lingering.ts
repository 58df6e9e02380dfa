// A descriptor whose close(2) takes as long as its owner likes: a TCP socket that lingers over data nobody takes from the other side.
import { readFileSync } from 'node:fs';

import { type Fd, OwnedFd } from '../../core/kernel/fd.js';
import { bind } from '../../core/kernel/libc.js';

const socketCall = bind('socket', ['int', 'int', 'int']);
const bindCall = bind('bind', ['fd', 'buffer', 'u32']);
const listenCall = bind('listen', ['fd', 'int']);
const getsocknameCall = bind('getsockname', ['fd', 'buffer', 'buffer']);
const connectCall = bind('connect', ['fd', 'buffer', 'u32']);
const setsockoptCall = bind('setsockopt', ['fd', 'int', 'int', 'buffer', 'u32']);
const sendCall = bind('send', ['fd', 'buffer', 'u64', 'int'], 'long', { expected: [11 /* EAGAIN */] });

const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_LINGER = 13;
const MSG_DONTWAIT = 0x40;

function openTcp(): OwnedFd {
  return OwnedFd.adopt(socketCall(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

function listenOnLoopback(): { listener: OwnedFd; address: Buffer } {
  const listener = openTcp();
  const address = Buffer.alloc(16); // struct sockaddr_in
  address.writeUInt16LE(AF_INET, 0);
  address.set([127, 0, 0, 1], 4);
  bindCall(listener.raw, address, address.length);
  listenCall(listener.raw, 1);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(address.length);
  getsocknameCall(listener.raw, address, length);
  return { listener, address };
}

function fillQueue(socket: Fd): void {
  const data = Buffer.alloc(65536);
  while (sendCall(socket.raw, data, data.length, MSG_DONTWAIT) >= 0);
}

export interface Lingering {
  /** Its last close takes `seconds`, or until the other side is closed. */
  readonly socket: OwnedFd;
  readonly otherSide: OwnedFd;
  /** Of the other side. */
  readonly port: number;
}

/** True once the last descriptor of a lingering socket has been closed, and its data is still waited for. */
export function isLingering(port: number): boolean {
  const FIN_WAIT1 = '04'; // include/net/tcp_states.h
  const remote = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`; // 127.0.0.1, as a little-endian machine has it
  const lines = readFileSync('/proc/net/tcp', 'latin1').split('\n');
  return lines.some((line) => line.includes(` ${remote} ${FIN_WAIT1} `));
}

/** The connection is never accepted: its data waits in the listening socket, which is the other side. */
export function openLingering(seconds: number): Lingering {
  const { listener, address } = listenOnLoopback();
  const socket = openTcp();
  connectCall(socket.raw, address, address.length);
  fillQueue(socket);
  const linger = Buffer.alloc(8); // struct linger
  linger.writeInt32LE(1, 0);
  linger.writeInt32LE(seconds, 4);
  setsockoptCall(socket.raw, SOL_SOCKET, SO_LINGER, linger, linger.length);
  return { socket, otherSide: listener, port: address.readUInt16BE(2) };
}
