import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import type { OwnedFd } from '../../core/kernel/fd.js';
import { createMemfd } from '../../core/kernel/file.js';
import { waitReady } from '../../core/kernel/poll.js';
import { connectStream, listenStream, receive, send } from '../../core/kernel/socket.js';
import { encodeMethodCall } from '../../core/wire/codec.js';
import { clientHello } from '../../core/wire/sasl-client.js';
import { closeNumber } from '../../core/kernel/libc.js';
import type { CallerFds } from '../closer.js';
import type { Log } from '../log.js';
import { DIRECT_LIMITS, serveDirect, type DirectLimits, type DirectServer } from './direct.js';
import { MAX_CALLS_UNDER_WAY, type CallHandler } from './peer.js';

const silent = { warn() {}, debug() {}, error() {} } as unknown as Log;
const echo: CallHandler = (message, fds) => {
  fds[Symbol.dispose]();
  return Promise.resolve({ signature: 's', body: [message.header.member] });
};

/** Closes at once: whether closing hangs is not what is tested here. */
const callerFds: CallerFds = {
  closerFor: () => closeNumber,
  connectionCloserFor: () => closeNumber,
  isStuck: () => false,
  isBehind: () => false,
};

let directory: string;
let server: DirectServer;
const open: OwnedFd[] = [];

function serve(limits: Partial<DirectLimits>, handler: CallHandler = echo): void {
  server = serveDirect(listenStream(join(directory, 's'), 64), handler, callerFds, silent, { ...DIRECT_LIMITS, ...limits });
}

function connect(): OwnedFd {
  const socket = connectStream(join(directory, 's'));
  open.push(socket);
  return socket;
}

/** Longest that a busy machine may take. Milliseconds. */
const PATIENCE = 10_000;

/** Lets the server work, until something arrives or for exactly so long, then says what arrived: text, null at the end of the stream. */
async function arrived(socket: OwnedFd, milliseconds?: number): Promise<string | null> {
  const end = Date.now() + PATIENCE;
  while (milliseconds === undefined && !waitReady(socket, 'readable', 0) && Date.now() < end) await sleep(5);
  await sleep(milliseconds ?? 40);
  let text = '';
  const buffer = Buffer.alloc(65536);
  while (waitReady(socket, 'readable', 0)) {
    const got = receive(socket, buffer);
    if (!got) break;
    if (got.bytes === 0) return text === '' ? null : text;
    text += buffer.toString('latin1', 0, got.bytes);
  }
  return text;
}

async function authenticated(): Promise<OwnedFd> {
  const socket = connect();
  send(socket, clientHello());
  assert.match((await arrived(socket)) ?? '', /AGREE_UNIX_FD\r\n$/);
  return socket;
}

const call = (serial: number, fds = 0): Buffer => encodeMethodCall({ serial, path: '/a', interface: 'a.b', member: 'Echo', fds });

function slowHandler(finish: (() => void)[], onCall: () => void): CallHandler {
  return async (_message, fds) => {
    fds[Symbol.dispose]();
    onCall();
    await new Promise<void>((resolve) => finish.push(resolve));
    return { signature: '', body: [] };
  };
}

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cfsmountd-direct-'));
});
afterEach(() => {
  for (const socket of open.splice(0)) socket.close();
  server.close();
  rmSync(directory, { recursive: true });
});

test('a call after authentication is answered', async () => {
  serve({});
  const socket = await authenticated();
  send(socket, call(1));
  assert.match((await arrived(socket)) ?? '', /Echo/);
  assert.equal(server.count(), 1);
});

test('a call before authentication ends the connection', async () => {
  serve({});
  const socket = connect();
  send(socket, call(1));
  assert.equal(await arrived(socket), null);
});

test('descriptors sent during authentication end the connection', async () => {
  serve({});
  const socket = connect();
  using memory = createMemfd('x');
  send(socket, Buffer.from('\0AUTH EXTERNAL\r\n'), [memory]);
  assert.equal(await arrived(socket), null);
});

test('a peer that does not authenticate in time is let go', async () => {
  serve({ handshakeTimeout: 50 });
  const socket = connect();
  send(socket, Buffer.from('\0AUTH'));
  assert.equal(await arrived(socket, 20), '');
  assert.equal(await arrived(socket), null);
  assert.equal(server.count(), 0);
});

test('an idle peer is let go, one that asks now and then is not', async () => {
  serve({ idleTimeout: 150 });
  const [quiet, busy] = [await authenticated(), await authenticated()];
  for (let serial = 1; serial <= 4; serial++) {
    send(busy, call(serial));
    assert.match((await arrived(busy)) ?? '', /Echo/);
  }
  assert.equal(await arrived(quiet), null);
});

test('a user has so many connections and no more, until one ends', async () => {
  serve({ connectionsPerUser: 2 });
  const first = await authenticated();
  await authenticated();
  assert.equal(await arrived(connect()), null);
  first.close();
  await sleep(20);
  await authenticated();
});

test('a message that claims descriptors that did not come ends the connection', async () => {
  serve({});
  const socket = await authenticated();
  send(socket, call(1, 1));
  assert.equal(await arrived(socket), null);
});

test('descriptors that no message claims end the connection', async () => {
  serve({});
  const socket = await authenticated();
  using memory = createMemfd('x');
  send(socket, call(1), [memory]);
  assert.equal((await arrived(socket)) === null || server.count() === 0, true);
});

test('a peer with too many calls under way is read no further until they are done', async () => {
  let running = 0;
  const finish: (() => void)[] = [];
  serve(
    {},
    slowHandler(finish, () => running++),
  );
  const socket = await authenticated();
  send(socket, Buffer.concat(Array.from({ length: MAX_CALLS_UNDER_WAY }, (_, i) => call(i + 1))));
  await sleep(40);
  assert.equal(running, MAX_CALLS_UNDER_WAY);
  send(socket, call(1000));
  await sleep(40);
  assert.equal(running, MAX_CALLS_UNDER_WAY);
  finish.splice(0).forEach((resolve) => resolve());
  await sleep(40);
  assert.equal(running, MAX_CALLS_UNDER_WAY + 1);
  finish.splice(0).forEach((resolve) => resolve());
});

test('a peer that sends far too many calls in one piece is let go', async () => {
  const finish: (() => void)[] = [];
  serve(
    {},
    slowHandler(finish, () => {}),
  );
  const socket = await authenticated();
  send(socket, Buffer.concat(Array.from({ length: 8 * MAX_CALLS_UNDER_WAY }, (_, i) => call(i + 1))));
  await sleep(40);
  finish.splice(0).forEach((resolve) => resolve());
  assert.equal(server.count(), 0);
});

test('a peer that does not read its replies is let go', async () => {
  const big = 'x'.repeat(60_000);
  serve({}, (_message, fds) => {
    fds[Symbol.dispose]();
    return Promise.resolve({ signature: 's', body: [big] });
  });
  const socket = await authenticated();
  for (let round = 0; round < 40 && server.count() > 0; round++) {
    try {
      send(socket, call(round + 1));
    } catch {
      break; // it is closed already
    }
    await sleep(5);
  }
  assert.equal(server.count(), 0);
});
