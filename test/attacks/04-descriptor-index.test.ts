// Row 4: a message names descriptors that it did not bring, brings others than it names, or names one twice. Defences: the guard before
// the parser (each index below the number claimed, no more claimed than came, none left over), and a list that gives each one out once.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { makeErofs, policyText } from '../support/images.js';
import { makeScratch } from '../support/scratch.js';

const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
let daemon: Daemon;
let actor: Actor;

before(async () => {
  const digest = makeErofs(image, { hello: 'hello\n' });
  daemon = await startDaemon({ policy: policyText({ digests: [digest] }) });
  actor = await startActor({ uid: 4714 });
});
after(async () => {
  await actor?.stop();
  await daemon?.stop();
  scratch.remove();
});

interface Message {
  /** Indexes for file, objects and userns. */
  readonly body: readonly [file: number, objects: readonly number[], userns: number];
  /** What is sent: f the image, u the user namespace, d a directory. */
  readonly sent?: string;
  readonly claims?: number;
}

/** MountFile as told. Returns what came of it, and then whether a proper request on a new connection works. */
async function attempt({ body, sent = 'uf', claims = sent.length }: Message): Promise<string> {
  const { what, next } = await actor.do(
    ({ file, rawCall }, { socket, image, body, sent, claims }) => {
      const paths: Record<string, string> = { f: image, u: '/proc/self/ns/user', d: '/tmp' };
      const send = (kinds: string, named: unknown[], claimed: number) => {
        const fds = kinds.split('').map((kind) => file.openPath(paths[kind]!, file.O_RDONLY));
        try {
          const call = { member: 'MountFile', signature: 'hahha{sv}', body: [...named, []], fds, claims: claimed };
          return rawCall.callRaw(socket, call, 5_000).what;
        } finally {
          for (const fd of fds) fd.close();
        }
      };
      return { what: send(sent, [...body], claims), next: send('uf', [1, [], 0], 2) };
    },
    { socket: daemon.socket, image, body, sent, claims },
  );
  assert.equal(next, 'reply', 'the next caller is served');
  return what;
}

const DROPPED: readonly (readonly [string, Message])[] = [
  ['file = n', { body: [2, [], 0] }],
  ['userns = n', { body: [1, [], 2] }],
  ['objects = n', { body: [1, [2], 0] }],
  ['file = 2³¹ − 1', { body: [2 ** 31 - 1, [], 0] }],
  ['file = 2³¹, which a signed reader takes for negative', { body: [2 ** 31, [], 0] }],
  ['file = 2³² − 1, which a signed reader takes for −1', { body: [2 ** 32 - 1, [], 0] }],
  ['userns = 2³² − 1', { body: [1, [], 2 ** 32 - 1] }],
  ['objects = 2³² − 1', { body: [1, [2 ** 32 - 1], 0] }],
  ['no descriptors at all', { body: [1, [], 0], sent: '', claims: 0 }],
  ['more claimed than came', { body: [1, [], 0], claims: 3 }],
  ['254 claimed, more than a message can have', { body: [1, [], 0], claims: 254 }],
  ['2³² − 1 claimed', { body: [1, [], 0], claims: 2 ** 32 - 1 }],
  ['fewer claimed than came and named', { body: [1, [], 0], claims: 1 }],
  ['more came than claimed', { body: [1, [], 0], sent: 'ufd', claims: 2 }],
];

for (const [name, message] of DROPPED) {
  test(`the connection is dropped: ${name}`, async () => {
    assert.equal(await attempt(message), 'dropped');
  });
}

const TWICE: readonly (readonly [string, Message])[] = [
  ['as file and userns', { body: [0, [], 0], sent: 'u' }],
  ['as file and store', { body: [1, [1], 0] }],
  ['as two stores', { body: [1, [2, 2], 0], sent: 'ufd' }],
];

for (const [name, message] of TWICE) {
  test(`one index named twice is a bad request: ${name}`, async () => {
    assert.equal(await attempt(message), 'BadRequest');
  });
}

/** Of what the daemon holds, that which came with requests; the user namespace is kept once, with the mount namespaces made for it. */
function heldOfCallers(): string[] {
  const held = [...daemon.fds().values()].filter((what) => what === image || what === '/tmp' || what.startsWith('user:['));
  const kept = held.findIndex((what) => what.startsWith('user:['));
  return held.filter((_, index) => index !== kept);
}

test('no request above leaves a descriptor behind', async () => {
  for (const [, message] of [...DROPPED, ...TWICE]) await attempt(message);
  await daemon.eventually('the descriptors are closed', () => heldOfCallers().length === 0);
});

test('descriptors nobody names are closed', async () => {
  for (let i = 0; i < 20; i++) await attempt({ body: [1, [], 0], sent: 'ufddd' });
  await daemon.eventually('the descriptors are closed', () => heldOfCallers().length === 0);
});
