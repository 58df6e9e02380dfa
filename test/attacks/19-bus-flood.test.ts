// Row 19, a flood over the bus: all callers share one connection, and the answers to the service's own questions come on it. Needed: it is read however many calls
// are under way, and what is too much is refused (daemon/transport/peer.ts).
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { makeErofs, policyText } from '../support/images.js';
import { PATIENCE } from '../support/machine.js';
import { type PrivateBus, startPrivateBus } from '../support/private-bus.js';
import { makeScratch } from '../support/scratch.js';
import { mountOnce } from '../support/steps.js';

/** Without the defence it is 25 s: the bus is asked in vain who calls. */
const BOUND_MS = 8_000 * PATIENCE;
/** A bus serves only users it can look up: these every Debian has. */
const [ATTACKER, VICTIM] = [1, 2];
const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
let bus: PrivateBus;
let daemon: Daemon;
let attacker: Actor;
let victim: Actor;

before(async () => {
  const digest = makeErofs(image, { 'hello.txt': 'hello\n' });
  bus = await startPrivateBus();
  daemon = await startDaemon({ policy: policyText({ digests: [digest] }), flags: ['--bus', `unix:path=${bus.socket}`] });
  attacker = await startActor({ uid: ATTACKER });
  victim = await startActor({ uid: VICTIM });
});
after(async () => {
  await attacker?.stop();
  await victim?.stop();
  await daemon?.stop();
  await bus?.stop();
  scratch.remove();
});

test('calls that want no answer, which a bus does not count: others are served, and the flood is refused', async () => {
  await attacker.do(
    ({ raw, codec, store }, { socket }) => {
      const connection = raw.connectAuthenticated(socket);
      const driver = { destination: 'org.freedesktop.DBus', path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus' };
      const name = 'org.composefs.Mount1';
      const call = { destination: name, path: '/org/composefs/Mount1', interface: name, member: 'ListMounts' };
      const NO_REPLY_EXPECTED = 1;
      connection.send(codec.encodeMethodCall({ ...driver, serial: 1, member: 'Hello' }));
      const calls = Array.from({ length: 3_000 }, (_, i) => {
        const message = codec.encodeMethodCall({ ...call, serial: i + 2, signature: 'a{sv}', body: [[]] });
        message[2]! |= NO_REPLY_EXPECTED;
        return message;
      });
      connection.send(Buffer.concat(calls));
      store['connection'] = connection;
    },
    { socket: bus.socket },
  );
  const ms = await victim.do(mountOnce, { address: `bus:unix:path=${bus.socket}`, image });
  assert.ok(ms < BOUND_MS, `another user waited ${ms} ms`);
});
