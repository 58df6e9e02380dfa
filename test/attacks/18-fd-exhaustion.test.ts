// Row 18: floods of descriptors. Needed: descriptors of no message are closed and end the peer (transport/messages.ts), none are taken
// before authentication (transport/direct.ts), no call brings more than a call can use (messages.ts), and what a method did not take is
// closed however it ends (dispatch.ts).
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { settleDown } from '../support/at-rest.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { makeErofs, policyText } from '../support/images.js';
import type { Kit } from '../support/kit.js';
import { makeScratch } from '../support/scratch.js';
import { countFdsOf, heldState } from '../support/state.js';
import { closeStored, mountOnce } from '../support/steps.js';

const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
/** What the attackers send, easily told from everything else the daemon holds. */
const marker = join(scratch.path, 'marker');
/** What a call can use: a user namespace, a file, 16 object stores. */
const MOST_FDS_OF_A_CALL = 18;
let daemon: Daemon;
let victim: Actor;
let attacker: Actor;
let baseline: ReturnType<typeof heldState>['fds'];

const held = (): number => countFdsOf(daemon.pid, marker);
const serveVictim = (): Promise<number> => victim.do(mountOnce, { address: daemon.address, image });

/** Nothing of the flood is left, and the daemon's sockets are as they were. */
async function requireBaseline(): Promise<void> {
  await daemon.eventually('no descriptor of the flood is left', () => held() === 0);
  await daemon.eventually('the sockets are as before', () => heldState(daemon.pid).fds['socket'] === baseline['socket']);
}

before(async () => {
  const digest = makeErofs(image, { 'hello.txt': 'hello\n' });
  writeFileSync(marker, '');
  daemon = await startDaemon({ policy: policyText({ digests: [digest] }) });
  victim = await startActor({ uid: 4750 });
  attacker = await startActor({ uid: 4751 });
  await serveVictim();
  await settleDown(daemon.pid); // the end of that connection is seen a little later
  baseline = heldState(daemon.pid).fds;
});
after(async () => {
  await attacker?.stop();
  await victim?.stop();
  await daemon?.kill();
  scratch.remove();
});

/** Opens connections and sends on each the beginning of a call, with as many descriptors as a message can have. */
function sendHalves({ raw, file, codec, store }: Kit, { socket, marker, connections, fds }: never): number {
  const given = file.openPath(marker, file.O_RDONLY);
  const call = codec.encodeMethodCall({
    serial: 1,
    path: '/org/composefs/Mount1',
    interface: 'org.composefs.Mount1',
    member: 'CheckImage',
    signature: 'sa{sv}',
    body: ['name', []],
    fds,
  });
  const open = ((store['halves'] as unknown[]) ??= []);
  let sent = 0;
  for (let i = 0; i < connections; i++) {
    try {
      const connection = raw.connectAuthenticated(socket);
      open.push(connection);
      connection.send(call.subarray(0, 40), Array(fds).fill(given));
      sent++;
    } catch {
      // the daemon had enough of us
    }
  }
  given.close();
  return sent;
}

test('half-sent messages that hold descriptors: one user cannot make the daemon hold more than its connections times a call', async () => {
  const argument = { socket: daemon.socket, marker, connections: 60, fds: 253 } as never;
  await attacker.do(sendHalves, argument);
  await serveVictim();
  assert.ok(held() <= 60 * MOST_FDS_OF_A_CALL, `the daemon holds ${held()} descriptors of one user`);
  await attacker.do(closeStored, 'halves');
  await requireBaseline();
});

test('half-sent messages with as many descriptors as a call may have are closed when the peer leaves', async () => {
  const argument = { socket: daemon.socket, marker, connections: 60, fds: 18 } as never;
  assert.equal(await attacker.do(sendHalves, argument), 60);
  await daemon.eventually('the daemon holds what it was sent', () => held() === 60 * 18);
  await serveVictim();
  await attacker.do(closeStored, 'halves');
  await requireBaseline();
});

test('complete messages with 253 descriptors, refused by the hundred, leave none behind', async () => {
  await attacker.do(
    ({ raw, file, codec }, { socket, marker }) => {
      const given = file.openPath(marker, file.O_RDONLY);
      for (let i = 0; i < 200; i++) {
        const connection = raw.connectAuthenticated(socket);
        for (const fds of [16, 253]) {
          const call = {
            path: '/org/composefs/Mount1',
            interface: 'org.composefs.Mount1',
            member: i % 2 ? 'MountFile' : 'Nothing',
          };
          const body = i % 2 ? [1, [2, 3], 0, []] : [];
          const message = codec.encodeMethodCall({ ...call, serial: 1, signature: i % 2 ? 'hahha{sv}' : '', body, fds });
          try {
            connection.send(message, Array(fds).fill(given));
          } catch {
            // refused already
          }
        }
        connection.receive(5_000);
        connection.close();
      }
      given.close();
    },
    { socket: daemon.socket, marker },
  );
  await serveVictim();
  await requireBaseline();
});

test('descriptors that no message claims end the connection and are closed', async () => {
  const ended = await attacker.do(
    ({ raw, file, codec, store }, { socket, marker }) => {
      const given = file.openPath(marker, file.O_RDONLY);
      const ping = codec.encodeMethodCall({ serial: 1, path: '/', interface: 'org.freedesktop.DBus.Peer', member: 'Ping' });
      let ended = 0;
      const open = (store['unclaimed'] = [] as { close(): void }[]);
      for (let i = 0; i < 50; i++) {
        const connection = raw.connectAuthenticated(socket);
        open.push(connection);
        connection.send(ping, Array(16).fill(given));
        let got = connection.receive(2_000);
        while (got !== null && got !== 'timeout') got = connection.receive(2_000);
        if (got !== null) break;
        ended++;
      }
      given.close();
      return ended;
    },
    { socket: daemon.socket, marker },
  );
  assert.equal(ended, 50);
  // The attacker keeps its ends open: the daemon must not wait for it.
  await requireBaseline();
  await attacker.do(closeStored, 'unclaimed');
});

test('descriptors during authentication end the connection and are closed', async () => {
  const ended = await attacker.do(
    ({ raw, file, store }, { socket, marker }) => {
      const given = file.openPath(marker, file.O_RDONLY);
      const open = (store['early'] = [] as { close(): void }[]);
      let ended = 0;
      for (const start of ['\0', '\0AUTH EXTERNAL\r\n', '\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n']) {
        for (let i = 0; i < 20; i++) {
          const connection = raw.connectRaw(socket);
          open.push(connection);
          connection.send(Buffer.from(start), Array(253).fill(given));
          let got = connection.receive(2_000);
          while (got !== null && got !== 'timeout') got = connection.receive(2_000);
          if (got !== null) return ended;
          ended++;
        }
      }
      given.close();
      return ended;
    },
    { socket: daemon.socket, marker },
  );
  assert.equal(ended, 60);
  await requireBaseline();
  await attacker.do(closeStored, 'early');
});

test('callers that leave before the answer: the mounts made for them are closed', async () => {
  await attacker.do(
    ({ raw, file, codec, client }, { socket, image }) => {
      const fd = file.openPath(image, file.O_RDONLY);
      const userns = client.ownUserns();
      for (let i = 0; i < 40; i++) {
        const connection = raw.connectAuthenticated(socket);
        const call = { path: '/org/composefs/Mount1', interface: 'org.composefs.Mount1', member: 'MountFile' };
        const message = codec.encodeMethodCall({ ...call, serial: 1, signature: 'hahha{sv}', body: [0, [], 1, []], fds: 2 });
        connection.send(message, [fd, userns]);
        if (i % 2) connection.receive(i);
        connection.close();
      }
      fd.close();
      userns.close();
    },
    { socket: daemon.socket, image },
  );
  await daemon.eventually('no image file is held', () => countFdsOf(daemon.pid, image) === 0);
  await requireBaseline();
  const live = await attacker.do(
    ({ client }, { address }) => {
      const connection = client.connect({ address });
      const { length } = connection.listMounts();
      connection.close();
      return length;
    },
    { address: daemon.address },
  );
  assert.equal(live, 0);
});
