// The direct socket: D-Bus without a bus. Who the peer is, the kernel says when it connects.
import { randomBytes } from 'node:crypto';

import { isErrno } from '../../core/kernel/error.js';
import type { OwnedFd } from '../../core/kernel/fd.js';
import { watch } from '../../core/kernel/poll.js';
import {
  acceptStream,
  makeNonBlocking,
  type PeerCredentials,
  peerCredentials,
  peerGroups,
  peerPidfd,
} from '../../core/kernel/socket.js';
import { REQUEST_LIMITS } from '../../core/wire/guard.js';
import type { MessageHeader } from '../../core/wire/header.js';
import { createSaslServer } from '../../core/wire/sasl-server.js';
import type { CallerFds } from '../closer.js';
import type { Log } from '../log.js';
import { payerOfPeer } from '../userns.js';
import { createMessageReader, MAX_CALL_FDS } from './messages.js';
import { createCallGate, MAX_CALLS_UNDER_WAY, mayInteract, type Caller, type CallHandler } from './peer.js';
import { openStream } from './stream.js';

export interface DirectLimits {
  /** Connections in all, and of one uid. */
  readonly connections: number;
  readonly connectionsPerUser: number;
  /** Milliseconds until a peer must have authenticated, and until one that asks nothing is let go. */
  readonly handshakeTimeout: number;
  readonly idleTimeout: number;
}

export const DIRECT_LIMITS: DirectLimits = {
  connections: 4096,
  connectionsPerUser: 256,
  handshakeTimeout: 10_000,
  idleTimeout: 300_000,
};

export interface DirectServer {
  count(): number;
  /** Milliseconds since 1970 of the last call or connection. */
  lastActivity(): number;
  close(): void;
}

interface Connection {
  readonly payer: number;
  lastUse: number;
  close(reason: string): void;
}

const RETRY_AFTER = 100;
/** Connections taken in before those that stand get their turn. */
const ACCEPTS_PER_TURN = 16;
/** Milliseconds between two lines about refused connections. */
const REFUSAL_LOG_INTERVAL = 1_000;

export function serveDirect(
  listener: OwnedFd,
  handler: CallHandler,
  callerFds: CallerFds,
  log: Log,
  limits = DIRECT_LIMITS,
): DirectServer {
  const guid = randomBytes(16).toString('hex');
  const connections = new Set<Connection>();
  let lastActivity = Date.now();
  let lastRefusalLog = 0;
  let refused = 0;
  let lastGroups: { socket: OwnedFd; gids: readonly number[] } | undefined;
  makeNonBlocking(listener);

  const ofUser = (payer: number): Connection[] => [...connections].filter((connection) => connection.payer === payer);

  /** Full: whoever has most gives way to whoever has less, so that one user cannot keep the others out. */
  function makeRoom(payer: number): boolean {
    if (ofUser(payer).length >= limits.connectionsPerUser) return false;
    if (connections.size < limits.connections) return true;
    const counts = new Map<number, number>();
    for (const connection of connections) counts.set(connection.payer, (counts.get(connection.payer) ?? 0) + 1);
    const [greediest, most] = [...counts].reduce((a, b) => (b[1] > a[1] ? b : a));
    if (most <= (counts.get(payer) ?? 0) + 1) return false;
    const oldest = ofUser(greediest).reduce((a, b) => (b.lastUse < a.lastUse ? b : a));
    oldest.close('gave way to another user');
    return true;
  }

  function refuse(socket: OwnedFd, uid: number): void {
    socket.close();
    refused++;
    if (Date.now() - lastRefusalLog < REFUSAL_LOG_INTERVAL) return;
    lastRefusalLog = Date.now();
    log.warn({ uid, refused, connections: connections.size }, 'connections refused: too many');
    refused = 0;
  }

  /** Read when asked for, and kept until another peer's are: they may be 65,536, connections many, and the calls in one chunk, too. */
  function groupsOf(socket: OwnedFd, peer: PeerCredentials): readonly number[] {
    if (lastGroups?.socket !== socket) lastGroups = { socket, gids: [peer.gid, ...peerGroups(socket)] };
    return lastGroups.gids;
  }

  function serve(socket: OwnedFd): void {
    let peer: PeerCredentials;
    let payer: number;
    try {
      peer = peerCredentials(socket);
      payer = payerOfPeer(socket, peer.uid);
    } catch (error) {
      socket.close();
      throw error;
    }
    socket.closeBy(callerFds.connectionCloserFor(payer));
    if (callerFds.isStuck(payer) || !makeRoom(payer)) return refuse(socket, peer.uid);
    connections.add(openConnection(socket, peer, payer));
  }

  function openConnection(socket: OwnedFd, peer: PeerCredentials, payer: number): Connection {
    const sasl = createSaslServer({ guid, peerUid: peer.uid });
    let authenticated = false;
    let open = true;
    const watchers = new Set<() => void>();
    let serial = 0;
    const reader = createMessageReader({
      limits: REQUEST_LIMITS,
      maxPendingFds: MAX_CALL_FDS,
      onMessage: (message, fds) => gate.accept(message, fds, () => Promise.resolve(callerOf(message.header))),
    });

    function authenticate(chunk: Buffer, fds: readonly OwnedFd[]): void {
      for (const fd of fds) fd.close();
      if (fds.length > 0) throw new Error('descriptors sent before authentication');
      const step = sasl.push(chunk);
      if (step.reply) stream.write(step.reply);
      if (step.reject !== undefined) throw new Error(step.reject);
      if (!step.done) return;
      authenticated = true;
      startIdleTimer();
      touch();
      if (step.done.rest.length > 0) reader.push(step.done.rest, []);
    }

    function mayReceive(): boolean {
      if (callerFds.isStuck(payer)) throw new Error('a descriptor of this user does not close');
      return !callerFds.isBehind(payer);
    }

    function receiveChunk(chunk: Buffer, fds: OwnedFd[]): void {
      if (!authenticated) return authenticate(chunk, fds);
      touch();
      reader.push(chunk, fds);
    }

    function onClosed(reason: string): void {
      open = false;
      for (const onGone of watchers) onGone();
      connections.delete(connection);
      clearTimeout(timer);
      reader.close();
      log.debug({ uid: peer.uid, pid: peer.pid, reason }, 'connection closed');
    }

    const stream = openStream(
      socket,
      { mayReceive, onData: receiveChunk, onClosed },
      callerFds.closerFor(() => payer),
    );
    const callerOf = (header: MessageHeader): Caller => ({
      uid: peer.uid,
      get gids() {
        return open ? groupsOf(socket, peer) : [peer.gid];
      },
      pid: peer.pid,
      payer,
      transport: 'direct',
      subject: { kind: 'process', pid: peer.pid, openPidfd: () => (open ? peerPidfd(socket) : undefined) },
      mayInteract: mayInteract(header),
      isGone: () => !open,
      watchGone: (onGone) => Promise.resolve(watchGone(onGone)),
    });
    function watchGone(onGone: () => void): Disposable {
      if (open) watchers.add(onGone);
      else onGone();
      return { [Symbol.dispose]: () => void watchers.delete(onGone) };
    }
    const gate = createCallGate(stream, () => ++serial, handler, MAX_CALLS_UNDER_WAY);
    const connection: Connection = { payer, lastUse: Date.now(), close: stream.close };
    let timer = setTimeout(() => stream.close('did not authenticate in time'), limits.handshakeTimeout);
    timer.unref();

    function startIdleTimer(): void {
      clearTimeout(timer);
      timer = setTimeout(expire, limits.idleTimeout);
      timer.unref();
    }
    function touch(): void {
      lastActivity = connection.lastUse = Date.now();
      timer.refresh();
    }
    function expire(): void {
      if (gate.underWay > 0) timer.refresh();
      else stream.close('idle');
    }
    return connection;
  }

  function acceptAll(): void {
    try {
      for (let i = 0; i < ACCEPTS_PER_TURN; i++) {
        const socket = acceptStream(listener);
        if (!socket) return;
        serve(socket);
      }
    } catch (error) {
      if (!isErrno(error, 'EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM')) log.error({ err: error }, 'accept failed');
      // The connection stays in the queue and the listener readable: wait instead of spinning.
      watcher.wantReadable(false);
      setTimeout(() => watcher.wantReadable(true), RETRY_AFTER);
    }
  }
  const watcher = watch(listener, acceptAll);

  return {
    count: () => connections.size,
    lastActivity: () => lastActivity,
    close() {
      watcher.stop();
      listener.close();
      for (const connection of [...connections]) connection.close('the service is stopping');
    },
  };
}
