// The direct socket: D-Bus without a bus. Who the peer is, the kernel says when it connects.
import { randomBytes } from 'node:crypto';

import { isErrno } from '../../core/kernel/error.js';
import type { OwnedFd } from '../../core/kernel/fd.js';
import { watch } from '../../core/kernel/poll.js';
import { acceptStream, makeNonBlocking, peerCredentials } from '../../core/kernel/socket.js';
import { REQUEST_LIMITS } from '../../core/wire/guard.js';
import { createSaslServer } from '../../core/wire/sasl-server.js';
import type { Log } from '../log.js';
import { payerOfPeer } from '../userns.js';
import { createMessageReader, MAX_CALL_FDS } from './messages.js';
import { createCallGate, MAX_CALLS_UNDER_WAY, type Caller, type CallHandler } from './peer.js';
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
  readonly uid: number;
  lastUse: number;
  close(reason: string): void;
}

const RETRY_AFTER = 100;

export function serveDirect(listener: OwnedFd, handler: CallHandler, log: Log, limits = DIRECT_LIMITS): DirectServer {
  const guid = randomBytes(16).toString('hex');
  const connections = new Set<Connection>();
  let lastActivity = Date.now();
  makeNonBlocking(listener);

  const ofUser = (uid: number): Connection[] => [...connections].filter((connection) => connection.uid === uid);

  /** Full: whoever has most gives way to whoever has less, so that one user cannot keep the others out. */
  function makeRoom(uid: number): boolean {
    if (ofUser(uid).length >= limits.connectionsPerUser) return false;
    if (connections.size < limits.connections) return true;
    const counts = new Map<number, number>();
    for (const connection of connections) counts.set(connection.uid, (counts.get(connection.uid) ?? 0) + 1);
    const [greediest, most] = [...counts].reduce((a, b) => (b[1] > a[1] ? b : a));
    if (most <= (counts.get(uid) ?? 0) + 1) return false;
    const oldest = ofUser(greediest).reduce((a, b) => (b.lastUse < a.lastUse ? b : a));
    oldest.close('gave way to another user');
    return true;
  }

  function serve(socket: OwnedFd): void {
    let peer: ReturnType<typeof peerCredentials>;
    try {
      peer = peerCredentials(socket);
    } catch (error) {
      socket.close();
      throw error;
    }
    if (!makeRoom(peer.uid)) {
      log.warn({ uid: peer.uid, connections: connections.size }, 'connection refused: too many');
      return socket.close();
    }
    connections.add(openConnection(socket, peer));
  }

  function openConnection(socket: OwnedFd, peer: ReturnType<typeof peerCredentials>): Connection {
    const sasl = createSaslServer({ guid, peerUid: peer.uid });
    let authenticated = false;
    let open = true;
    let serial = 0;
    const reader = createMessageReader({
      limits: REQUEST_LIMITS,
      maxPendingFds: MAX_CALL_FDS,
      onMessage: (message, fds) => gate.accept(message, fds, () => Promise.resolve(caller)),
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

    const stream = openStream(socket, {
      onData(chunk, fds) {
        if (!authenticated) return authenticate(chunk, fds);
        touch();
        reader.push(chunk, fds);
      },
      onClosed(reason) {
        open = false;
        clearTimeout(timer);
        reader.close();
        connections.delete(connection);
        log.debug({ uid: peer.uid, pid: peer.pid, reason }, 'connection closed');
      },
    });
    const caller: Caller = {
      uid: peer.uid,
      gids: [peer.gid, ...peer.groups],
      pid: peer.pid,
      payer: payerOfPeer(socket, peer.uid),
      transport: 'direct',
      isGone: () => !open,
    };
    const gate = createCallGate(stream, () => ++serial, handler, MAX_CALLS_UNDER_WAY);
    const connection: Connection = { uid: peer.uid, lastUse: Date.now(), close: stream.close };
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
      for (let socket = acceptStream(listener); socket; socket = acceptStream(listener)) serve(socket);
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
