// Gives an actor a descriptor it could not open itself, as an accomplice with more rights might.
import { randomBytes } from 'node:crypto';
import { chmodSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { Fd, OwnedFd } from '../../core/kernel/fd.js';
import { acceptStream, listenStream, send } from '../../core/kernel/socket.js';
import type { Actor } from './actor.js';
import { eventually } from './daemon.js';

/** The actor finds its duplicate, an OwnedFd, in `store[name]`. */
export async function handOver(actor: Actor, name: string, fd: Fd): Promise<void> {
  const path = join(tmpdir(), `cfsmountd-hand-${randomBytes(8).toString('hex')}`);
  using listener = listenStream(path, 1);
  chmodSync(path, 0o666);
  const taken = actor.do(
    ({ socket, poll, store }, { path, name }) => {
      const stream = socket.connectStream(path);
      try {
        if (!poll.waitReady(stream, 'readable', 5_000)) throw new Error('no descriptor came');
        store[name] = socket.receive(stream, Buffer.alloc(1))!.fds[0];
      } finally {
        stream.close();
      }
      return true;
    },
    { path, name },
  );
  taken.catch(() => {}); // reported below
  let stream: OwnedFd | null = null;
  await eventually('the actor connects', () => (stream = acceptStream(listener)) !== null);
  using given = stream! as OwnedFd;
  rmSync(path);
  send(given, Buffer.from([0]), [fd]);
  await taken;
}
