// Row 19, descriptors: what a caller sends takes as long to close as the caller likes, a socket that lingers or a file of a file system of
// its own. Needed: no descriptor of a caller's, and no connection that may hold one, is closed by the thread that serves everybody (daemon/closer.ts,
// transport/direct.ts, start.ts, core/kernel/socket.ts); whoever makes a close hang may send no more; what close(2) says is not believed
// (core/kernel/libc.ts); and a thread that reads is paid for by the outermost owner (methods/check.ts).
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { settleDown } from '../support/at-rest.js';
import { type Daemon, eventually, openFds, startDaemon } from '../support/daemon.js';
import { type FuseServer, startFuse } from '../support/fuse-server.js';
import { makeErofs, policyText } from '../support/images.js';
import type { Kit } from '../support/kit.js';
import type { Lingering } from '../support/lingering.js';
import { PATIENCE } from '../support/machine.js';
import { type PrivateBus, startPrivateBus } from '../support/private-bus.js';
import { makeScratch } from '../support/scratch.js';
import { countFdsOf } from '../support/state.js';
import { mountOnce } from '../support/steps.js';
import { traceCalls } from '../support/strace.js';

/** Generous: what it really takes is some milliseconds. Whatever hangs does so until it is released. */
const BOUND_MS = 2_000 * PATIENCE;
const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const marker = join(scratch.path, 'marker');
let bus: PrivateBus;
let daemon: Daemon;
let victim: Actor;
let fuse: FuseServer;
/** One that uses the file system, one with sockets. */
let fuseUser: Actor;
let socketUser: Actor;
let sockets: number;

const countSockets = (): number => [...openFds(daemon.pid).values()].filter((target) => target.startsWith('socket:')).length;
const serve = (who: Actor) => who.do(mountOnce, { address: daemon.address, image, timeoutMs: 2 * BOUND_MS });

before(async () => {
  const digest = makeErofs(image, { 'hello.txt': 'hello\n' });
  writeFileSync(marker, '');
  bus = await startPrivateBus();
  daemon = await startDaemon({ policy: policyText({ digests: [digest] }), flags: ['--bus', `unix:path=${bus.socket}`] });
  victim = await startActor({ uid: 4776 });
  fuse = await startFuse({ uid: 4777 }, scratch.path, { size: 4096, onRead: 0, onFlush: 'never' });
  fuseUser = await startActor({ uid: 4777, join: fuse.actor.pid });
  socketUser = await startActor({ uid: 1 }); // a bus serves only users it can look up, as this one of every Debian
  await serve(victim);
  await settleDown(daemon.pid);
  sockets = countSockets();
});
afterEach(async () => {
  await fuse.behave({ onFlush: 0 });
  await Promise.all([fuseUser, socketUser].map((who) => who.do(letGo, null)));
  await daemon.eventually('their connections are closed', () => countSockets() === sockets);
  await Promise.all(
    [fuseUser, socketUser].map((who) => eventually('they are served again', () => serve(who).then(Boolean, () => false))),
  );
  await fuse.behave({ onFlush: 'never' });
});
after(async () => {
  await Promise.all([fuse, fuseUser, socketUser, victim].map((one) => (one && 'actor' in one ? one.actor : one)?.stop()));
  await daemon?.kill();
  await bus?.stop();
  scratch.remove();
});

/** How a descriptor gets to the service. */
const WAYS = [
  'before authentication',
  'as the file of a call',
  'as the user namespace of a call',
  'in a call that has no use for it',
  'that no message claims',
  'in half a message whose sender leaves',
] as const;
/** How it gets there without ever being received: closing a file takes no time then, but a socket does. */
const UNRECEIVED = ['out of band', 'behind bytes that end the connection', 'in a connection too many'] as const;
type Way = (typeof WAYS)[number] | (typeof UNRECEIVED)[number];

interface Sending {
  readonly socket: string;
  readonly way: Way;
  /** Of a file that does not close; null for a socket that does not. */
  readonly path: string | null;
}

function prepare({ raw, store }: Kit, { socket, way }: Sending): void {
  const kept = ((store['kept'] as unknown[]) ??= []);
  const early = way === 'before authentication' || way === 'out of band';
  if (way === 'in a connection too many') for (let i = 0; i < 256; i++) kept.push(raw.connectRaw(socket));
  else kept.push((store['connection'] = early ? raw.connectRaw(socket) : raw.connectAuthenticated(socket)));
}

/** Runs while the service stands still: its descriptor must not be the last one to be closed. Returns the port of a lingering socket. */
function send({ raw, rawCall, file, lingering, store }: Kit, { socket, way, path }: Sending): number {
  const kept = store['kept'] as { close(): void }[];
  const socketPair = path === null ? lingering.openLingering(600) : undefined;
  const fd = socketPair?.socket ?? file.openPath(path!, file.O_RDONLY);
  const connection = (way === 'in a connection too many' ? raw.connectRaw(socket) : store['connection']) as ReturnType<
    typeof raw.connectRaw
  >;
  const list = { member: 'ListMounts', signature: 'a{sv}', body: [[]], fds: [fd] };
  if (way === 'before authentication' || way === 'in a connection too many') connection.send(Buffer.from([0]), [fd]);
  if (way === 'out of band') connection.sendUrgent(fd);
  if (way === 'as the file of a call')
    connection.send(rawCall.encodeCall({ member: 'CheckFile', signature: 'haha{sv}', body: [0, [], []], fds: [fd] }), [fd]);
  if (way === 'as the user namespace of a call')
    connection.send(rawCall.encodeCall({ member: 'MountImage', signature: 'sha{sv}', body: ['name', 0, []], fds: [fd] }), [fd]);
  if (way === 'in a call that has no use for it') connection.send(rawCall.encodeCall(list), [fd]);
  if (way === 'that no message claims') connection.send(rawCall.encodeCall({ ...list, claims: 0 }), [fd]);
  if (way === 'in half a message whose sender leaves') connection.send(rawCall.encodeCall(list).subarray(0, 40), [fd]);
  if (way === 'behind bytes that end the connection') {
    connection.send(Buffer.alloc(32 * 1024, 0xff));
    connection.send(Buffer.from([0]), [fd]);
  }
  if (way === 'in half a message whose sender leaves') connection.close();
  kept.push(connection, socketPair?.otherSide ?? fd);
  socketPair?.socket.close();
  return socketPair?.port ?? 0;
}

function letGo({ store }: Kit): void {
  for (const item of (store['kept'] as Lingering['socket'][] | undefined) ?? []) item.close();
  store['kept'] = [];
}

async function sendHanging(who: Actor, way: Way): Promise<void> {
  const sending = { socket: daemon.socket, way, path: who === fuseUser ? fuse.path : null };
  await who.do(prepare, sending);
  if (way === 'in a connection too many')
    await daemon.eventually('it has taken as many as it takes', () => countSockets() >= sockets + 256);
  daemon.process.kill('SIGSTOP');
  const port = await who.do(send, sending).finally(() => daemon.process.kill('SIGCONT'));
  const hangs = () =>
    who === fuseUser
      ? fuse.waiting().then((count) => count > 0)
      : who.do(({ lingering }, port) => lingering.isLingering(port), port);
  await eventually('the service closes it', hangs);
}

const ATTACKS = [
  ...WAYS.map((way) => ({ what: 'a file whose closing is never answered', way, who: () => fuseUser })),
  ...[...WAYS, ...UNRECEIVED].map((way) => ({ what: 'a socket that lingers', way, who: () => socketUser })),
];

for (const { what, way, who } of ATTACKS) {
  test(`${what}, ${way}: nobody else waits`, async () => {
    await sendHanging(who(), way);
    const times = [await serve(victim), await serve(victim)];
    assert.ok(Math.max(...times) < BOUND_MS, `another user waited ${times.join(' and ')} ms`);
  });
}

test('a socket that lingers, over the bus: nobody else waits', async () => {
  daemon.process.kill('SIGSTOP');
  const port = await socketUser
    .do(
      ({ raw, codec, lingering, store }, { socket }) => {
        const connection = raw.connectAuthenticated(socket);
        const { socket: fd, otherSide, port } = lingering.openLingering(600);
        const driver = { destination: 'org.freedesktop.DBus', path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus' };
        const name = 'org.composefs.Mount1';
        const call = {
          destination: name,
          path: '/org/composefs/Mount1',
          interface: name,
          member: 'CheckFile',
          signature: 'haha{sv}',
        };
        connection.send(codec.encodeMethodCall({ ...driver, serial: 1, member: 'Hello' }));
        connection.send(codec.encodeMethodCall({ ...call, serial: 2, body: [0, [], []], fds: 1 }), [fd]);
        fd.close();
        // Its answer says that the bus has passed on what came before, and closed what it had of it.
        connection.send(codec.encodeMethodCall({ ...driver, serial: 3, member: 'GetId' }));
        for (let text = ''; !/[0-9a-f]{32}/.test(text);) {
          const got = connection.receive(2_000);
          if (got === null || got === 'timeout') throw new Error('the bus does not answer');
          text += got.bytes.toString('latin1');
        }
        store['kept'] = [connection, otherSide];
        return port;
      },
      { socket: bus.socket },
    )
    .finally(() => daemon.process.kill('SIGCONT'));
  await eventually('the service closes it', () => socketUser.do(({ lingering }, port) => lingering.isLingering(port), port));
  const ms = await serve(victim);
  assert.ok(ms < BOUND_MS, `another user waited ${ms} ms`);
});

/** Whether a new connection, on which nothing has been said yet, is closed at once. */
const isRefused = (who: Actor): Promise<boolean> =>
  who.do(
    ({ raw }, { socket }) => {
      const connection = raw.connectRaw(socket);
      const got = connection.receive(200);
      connection.close();
      return got === null;
    },
    { socket: daemon.socket },
  );

test('whoever sends one that does not close is refused until it is closed', async () => {
  await sendHanging(fuseUser, 'as the file of a call');
  await eventually('its sender is refused', () => isRefused(fuseUser), 3_000);
  await serve(victim);
});

test('what is sent behind one that does not close is not received before it is much, and then refused', async () => {
  const sent = await fuseUser.do(
    ({ raw, store }, { socket }) => {
      const many = Array.from({ length: 10 }, () => raw.connectAuthenticated(socket));
      store['many'] = many;
      return many.length;
    },
    { socket: daemon.socket },
  );
  assert.equal(sent, 10);
  await sendHanging(fuseUser, 'as the file of a call');
  const flood = await fuseUser.do(
    ({ raw, rawCall, file, socket, store }, { marker }) => {
      const fd = file.openPath(marker, file.O_RDONLY);
      const fds = Array(18).fill(fd);
      const call = rawCall.encodeCall({ member: 'ListMounts', signature: 'a{sv}', body: [[]], fds });
      const alive = new Set(store['many'] as ReturnType<typeof raw.connectRaw>[]);
      let messages = 0;
      for (const end = Date.now() + 5_000; alive.size > 0 && Date.now() < end;) {
        for (const connection of alive) {
          try {
            if (socket.send(connection.socket, call, fds) !== null) messages++;
          } catch (error) {
            if ((error as { code?: string }).code === 'EPIPE') alive.delete(connection);
          }
        }
      }
      fd.close();
      (store['kept'] as unknown[]).push(...(store['many'] as unknown[]));
      return { messages, alive: alive.size };
    },
    { marker },
  );
  const held = countFdsOf(daemon.pid, marker);
  assert.ok(held > 0 && held < 1_300, `${held} descriptors are held after ${flood.messages} messages`);
  assert.equal(flood.alive, 0, 'its connections are closed');
  await serve(victim);
  await fuse.behave({ onFlush: 0 });
  await daemon.eventually('all are closed', () => countFdsOf(daemon.pid, marker) === 0);
});

test('while two users make closing hang, what others send is closed', async () => {
  await sendHanging(fuseUser, 'as the file of a call');
  await sendHanging(socketUser, 'as the file of a call');
  const outcome = await victim.do(
    ({ rawCall, file }, { socket, marker }) => {
      const fd = file.openPath(marker, file.O_RDONLY);
      const { what } = rawCall.callRaw(socket, { member: 'ListMounts', signature: 'a{sv}', body: [[]], fds: [fd] });
      fd.close();
      return what;
    },
    { socket: daemon.socket, marker },
  );
  assert.equal(outcome, 'reply');
  await eventually('it is closed', () => countFdsOf(daemon.pid, marker) === 0, 4_000);
});

for (const [name, errno] of [
  ['EIO', 5],
  ['EINTR', 4],
] as const) {
  test(`closing that ends with ${name}: nothing is closed twice, and nothing falls over`, async () => {
    await fuse.behave({ onFlush: errno });
    const errors = () => daemon.log().filter(({ level }) => level === 'error' || level === 'fatal');
    const before = errors().length;
    const trace = await traceCalls(daemon.pid, ['close']);
    for (const way of WAYS) {
      await fuseUser.do(prepare, { socket: daemon.socket, way, path: fuse.path });
      await fuseUser.do(send, { socket: daemon.socket, way, path: fuse.path });
    }
    await serve(victim);
    await daemon.eventually('all ways were gone', () => trace.hasSeen(name));
    await settleDown(daemon.pid);
    const closes = [...(await trace.finish()).values()].flat();
    assert.ok(closes.filter((call) => call.includes(` ${name} `)).length >= WAYS.length);
    assert.deepEqual(
      closes.filter((call) => call.includes('EBADF')),
      [],
    );
    assert.deepEqual(errors().slice(before), []);
  });
}
