// Longer than 300 lines: one table of hostile messages for both transports, and what sends them.
// Row 20: hostile messages on both transports. Needed: the guard that looks at each message before a parser does (core/wire/guard.ts,
// called by transport/messages.ts), and on the bus, whose one connection is everybody's, that a bad message is answered instead of ending
// the connection (transport/bus.ts).
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { settleDown } from '../support/at-rest.js';
import { type PrivateBus, startPrivateBus } from '../support/private-bus.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { makeErofs, policyText } from '../support/images.js';
import type { Kit } from '../support/kit.js';
import { makeScratch } from '../support/scratch.js';
import { countFdsOf, heldState } from '../support/state.js';
import { mountOnce } from '../support/steps.js';

const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const marker = join(scratch.path, 'marker');
const SEED = Number(process.env['FUZZ_SEED'] ?? 20261123);
const ROUNDS = Number(process.env['FUZZ_ROUNDS'] ?? 1500);
let bus: PrivateBus;
let daemon: Daemon;
let victim: Actor;
let attacker: Actor;
let sockets: number | undefined;

const socketCount = (): number | undefined => heldState(daemon.pid).fds['socket'];

before(async () => {
  const digest = makeErofs(image, { 'hello.txt': 'hello\n' });
  writeFileSync(marker, '');
  bus = await startPrivateBus();
  daemon = await startDaemon({
    policy: policyText({ digests: [digest] }),
    flags: ['--bus', `unix:path=${bus.socket}`],
    env: { NODE_OPTIONS: '--max-old-space-size=256' }, // much memory for a few bytes shows sooner
  });
  // A bus serves only users it can look up: these two (bin, daemon) are on every Debian.
  victim = await startActor({ uid: 2 });
  attacker = await startActor({ uid: 1 });
  await serveVictim();
  await settleDown(daemon.pid); // the end of that connection is seen a little later
  sockets = socketCount();
});
after(async () => {
  await attacker?.stop();
  await victim?.stop();
  await daemon?.kill();
  await bus?.stop();
  scratch.remove();
});

async function serveVictim(): Promise<void> {
  await victim.do(mountOnce, { address: daemon.address, image });
  await victim.do(mountOnce, { address: `bus:unix:path=${bus.socket}`, image });
}

async function requireUnharmed(): Promise<void> {
  assert.equal(daemon.process.exitCode, null, `the service fell over: ${daemon.stderr().slice(-2000)}`);
  await serveVictim();
  await daemon.eventually('no descriptor of the attacker is held', () => countFdsOf(daemon.pid, marker) === 0);
  await daemon.eventually('the sockets are as before', () => socketCount() === sockets);
}

interface Fuzz {
  readonly socket: string;
  readonly marker: string;
  readonly onBus: boolean;
  readonly seed: number;
  readonly rounds: number;
}

/** Sends valid calls changed at random; returns how many the other side took as a message (it did not hang up). */
function fuzz({ raw, file, codec, variants }: Kit, { socket, marker, onBus, seed, rounds }: Fuzz): number {
  let state = seed >>> 0;
  const below = (limit: number): number => {
    state = (state + 0x6d2b79f5) >>> 0; // mulberry32
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % limit;
  };
  const destination = onBus ? 'org.composefs.Mount1' : '';
  const common = { destination, path: '/org/composefs/Mount1', interface: 'org.composefs.Mount1' };
  const options = [
    ['digest', variants.variant('s', 'sha256:' + 'a'.repeat(64))],
    ['nosuid', variants.variant('b', true)],
  ];
  const calls = [
    { ...common, member: 'CheckImage', signature: 'sa{sv}', body: ['a/name', options], fds: 0 },
    { ...common, member: 'MountImage', signature: 'sha{sv}', body: ['a/name', 0, options], fds: 1 },
    { ...common, member: 'MountFile', signature: 'hahha{sv}', body: [0, [1, 2], 3, options], fds: 4 },
    { ...common, member: 'CheckFile', signature: 'haha{sv}', body: [0, [1], options], fds: 2 },
    { ...common, member: 'ListMounts', signature: 'a{sv}', body: [[]], fds: 0 },
    { ...common, interface: 'org.freedesktop.DBus.Properties', member: 'GetAll', signature: 's', body: ['x.y'], fds: 0 },
  ];
  const given = file.openPath(marker, file.O_RDONLY);
  const hello = { path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus', destination: 'org.freedesktop.DBus' };
  let connection: ReturnType<typeof raw.connectRaw> | undefined;
  const open = () => {
    const fresh = raw.connectAuthenticated(socket);
    if (onBus) fresh.send(codec.encodeMethodCall({ ...hello, serial: 1, member: 'Hello' }));
    return fresh;
  };
  let taken = 0;
  for (let round = 0; round < rounds; round++) {
    const call = calls[below(calls.length)]!;
    const message = codec.encodeMethodCall({ ...call, serial: round + 2, noReplyExpected: below(8) === 0 } as never);
    const changes = below(4);
    for (let i = 0; i < changes; i++) {
      // Mostly small changes in the body, which a bus does not look at closely; now and then anywhere.
      const at = below(3) > 0 ? message.length - 1 - below(Math.min(message.length, 120)) : below(message.length);
      const special = [0, 1, 2, 0x28, 0x29, 0x61, 0x76, 0x7b, 0x7f, 0xff];
      message[at] = below(2) ? special[below(special.length)]! : below(256);
    }
    const cut = below(40) === 0 ? below(message.length) : message.length;
    const fds = below(6) === 0 ? below(6) : call.fds;
    try {
      connection ??= open();
      connection.send(message.subarray(0, cut), Array(fds).fill(given));
      if (cut < message.length) throw new Error('half a message: start again');
      for (;;) {
        const got = connection.receive(0);
        if (got === null) throw new Error('hung up');
        if (got === 'timeout') break;
      }
      taken++;
    } catch {
      connection?.close();
      connection = undefined;
    }
  }
  connection?.close();
  given.close();
  return taken;
}

for (const onBus of [false, true]) {
  test(`changed at random, ${onBus ? 'through the bus' : 'on the direct socket'} (seed ${SEED})`, async () => {
    const socket = onBus ? bus.socket : daemon.socket;
    const taken = await attacker.do(fuzz, { socket, marker, onBus, seed: SEED, rounds: ROUNDS });
    assert.ok(taken > ROUNDS / 20, `only ${taken} messages got anywhere`);
    await requireUnharmed();
  });
}

interface Hostile {
  readonly socket: string;
  readonly onBus: boolean;
  readonly marker: string;
}

/** Each of these killed a D-Bus library: types without bytes, nesting, sizes. Sends all, each on a connection of its own. */
function sendHostile({ raw, file, codec, variants }: Kit, { socket, onBus, marker }: Hostile): string[] {
  const destination = onBus ? 'org.composefs.Mount1' : '';
  const call = { destination, path: '/org/composefs/Mount1', interface: 'org.composefs.Mount1', member: 'ListMounts' };
  const given = file.openPath(marker, file.O_RDONLY);
  const encode = (signature: string, body: unknown[], fds = 0): Buffer =>
    codec.encodeMethodCall({ ...call, serial: 7, signature, body, fds } as never);
  // A body written by hand, behind the header of a call whose body has the type "ay": its signature is written over.
  const bodyOf = (signature: string, body: Buffer): Buffer => {
    const longest = 's'.repeat(signature.length);
    const message = encode(longest, Array(signature.length).fill(''));
    const bodyBytes = message.readUInt32LE(4);
    const head = Buffer.from(message.subarray(0, message.length - bodyBytes));
    const at = head.indexOf(`${longest}\0`);
    head.write(signature, at, 'latin1');
    head.writeUInt32LE(body.length, 4);
    return Buffer.concat([head, body]);
  };
  const u32 = (...values: number[]): Buffer => {
    const bytes = Buffer.alloc(4 * values.length);
    values.forEach((value, i) => bytes.writeUInt32LE(value >>> 0, 4 * i));
    return bytes;
  };
  const nestedVariant = (depth: number): Buffer =>
    Buffer.concat([...Array(depth).fill(Buffer.from('\x01v\0', 'latin1')), Buffer.from('\x01y\0\x05', 'latin1')]);
  const withHuge = (bytes: number): Buffer => {
    const message = Buffer.from(encode('', []));
    message.writeUInt32LE(bytes, 4);
    return message;
  };
  const messages: Record<string, Buffer> = {
    'a()': bodyOf('a()', u32(8, 0, 0, 0)),
    'a{}': bodyOf('a{}', u32(8, 0, 0, 0)),
    'a{sv} with a() inside a variant': bodyOf('v', Buffer.concat([Buffer.from('\x03a()\0', 'latin1'), u32(0, 4096, 0, 0)])),
    'variants 63 deep': bodyOf('v', nestedVariant(63)),
    'variants 4000 deep': bodyOf('v', nestedVariant(4000)),
    'arrays 32 deep': bodyOf(`${'a'.repeat(32)}y`, u32(...Array(32).fill(0))),
    'arrays 200 deep': bodyOf(`${'a'.repeat(200)}y`, u32(...Array(200).fill(0))),
    'structs 200 deep': bodyOf(`${'('.repeat(100)}y${')'.repeat(100)}`, u32(0)),
    'a signature of 255 bytes': bodyOf('y'.repeat(255), Buffer.alloc(255)),
    'an array of 60000 numbers': encode('au', [Array(15_000).fill(7)]),
    'an array of 1.2 million numbers': encode('ay', [Buffer.alloc(1_200_000)]),
    'a string of 1 MiB': encode('s', ['x'.repeat(1 << 20)]),
    'a string of 8 MiB': encode('s', ['x'.repeat(1 << 23)]),
    'an array that says 4 GiB': bodyOf('ay', u32(0xffff_ffff, 0)),
    'a string that says 4 GiB': bodyOf('s', u32(0xffff_fff0, 0)),
    'a body that says 4 GiB': withHuge(0xffff_fff8),
    'a body that says 60 KiB': withHuge(60_000),
    'the same key 500 times': encode('a{sv}', [Array(500).fill(['digest', variants.variant('s', 'x')])]),
    'h without a descriptor': encode('h', [0]),
    'h of 2^32-1': encode('h', [0xffff_ffff]),
    'UNIX_FDS of 200, none sent': encode('', [], 200),
    'a reply to nobody': codec.encodeMethodReturn({ serial: 3, replySerial: 1, destination, signature: 's', body: ['x'] }),
    'an error to nobody': codec.encodeError({ serial: 3, replySerial: 2, destination, errorName: 'a.b', text: 'x' }),
    'a signal': codec.encodeSignal({
      serial: 3,
      destination,
      path: '/',
      interface: 'a.b',
      member: 'C',
      signature: 's',
      body: ['x'],
    }),
    'a message type of the future': Buffer.from(encode('', [])).fill(9, 1, 2),
  };
  const hello = { path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus', destination: 'org.freedesktop.DBus' };
  const outcomes: string[] = [];
  for (const [name, message] of Object.entries(messages)) {
    const connection = raw.connectAuthenticated(socket);
    try {
      if (onBus) connection.send(codec.encodeMethodCall({ ...hello, serial: 1, member: 'Hello' }));
      connection.send(message, name.startsWith('a signal') ? [] : []);
      const got = connection.receive(onBus ? 100 : 200);
      outcomes.push(`${name}: ${got === null ? 'hung up' : got === 'timeout' ? 'no answer' : 'answered'}`);
    } catch {
      outcomes.push(`${name}: hung up`);
    } finally {
      connection.close();
    }
  }
  given.close();
  return outcomes;
}

for (const onBus of [false, true]) {
  test(`types of no bytes, nesting and sizes that broke other services, ${onBus ? 'through the bus' : 'on the direct socket'}`, async () => {
    const outcomes = await attacker.do(sendHostile, { socket: onBus ? bus.socket : daemon.socket, onBus, marker });
    assert.equal(outcomes.length, 25);
    await requireUnharmed();
  });
}

test('through the bus: header fields of the future, with more in them than one message may hold', async () => {
  await attacker.do(
    ({ raw, codec }, { socket }) => {
      const hello = { path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus', destination: 'org.freedesktop.DBus' };
      const call = { destination: 'org.composefs.Mount1', path: '/a', interface: 'a.b', member: 'C' };
      for (const [code, signature, bytes] of [
        [100, 'au', 8_000_000],
        [200, 'ab', 6_000_000],
        [10, 'ay', 20_000_000],
      ] as const) {
        const connection = raw.connectAuthenticated(socket);
        connection.send(codec.encodeMethodCall({ ...hello, serial: 1, member: 'Hello' }));
        const plain = codec.encodeMethodCall({ ...call, serial: 2 });
        const padding = Buffer.alloc((8 - (plain.length % 8)) % 8);
        const start = Buffer.concat([plain, padding]);
        const type = Buffer.from([code, signature.length, ...Buffer.from(signature), 0]);
        const toLength = Buffer.alloc((4 - (type.length % 4)) % 4);
        const length = Buffer.alloc(4);
        length.writeUInt32LE(bytes);
        const message = Buffer.concat([start, type, toLength, length, Buffer.alloc(bytes)]);
        message.writeUInt32LE(message.length - 16, 12);
        try {
          connection.send(message);
          connection.receive(1_000);
        } catch {
          // the bus did not like it
        }
        connection.close();
      }
    },
    { socket: bus.socket },
  );
  await requireUnharmed();
});

test('through the bus: the end of a long message and the start of the next, each with as many descriptors as there can be', async () => {
  await attacker.do(
    ({ raw, codec, file }, { socket, marker }) => {
      const hello = { path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus', destination: 'org.freedesktop.DBus' };
      const call = { destination: 'org.composefs.Mount1', path: '/a', interface: 'a.b', member: 'C' };
      const given = file.openPath(marker, file.O_RDONLY);
      const connection = raw.connectAuthenticated(socket);
      connection.send(codec.encodeMethodCall({ ...hello, serial: 1, member: 'Hello' }));
      try {
        for (let i = 0; i < 12; i++) {
          const body = [Buffer.alloc(1_000 + 70_001 * (i % 3))];
          const long = codec.encodeMethodCall({ ...call, serial: 10 + i, signature: 'ay', body, fds: 200 });
          connection.send(long, Array(200).fill(given));
        }
        connection.receive(500);
      } catch {
        // the bus did not like it
      }
      connection.close();
      given.close();
    },
    { socket: bus.socket, marker },
  );
  await requireUnharmed();
});

test('a bus that goes away ends the service, which the service manager starts again', async () => {
  await bus.stop();
  await daemon.eventually('the service has ended', () => daemon.process.exitCode !== null);
  assert.equal(daemon.process.exitCode, 1);
  assert.match(daemon.stderr(), /the bus went away/);
});
