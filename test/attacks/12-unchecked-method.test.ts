// Row 12: a method, or a property, that somebody added and forgot to guard. What the service says of itself is enumerated, and each
// member tried by a caller whom no rule names; one that is missing in the table here fails. Defences: the policy asked in each method,
// root asked for where the contract says so, lists that show a caller its own.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import type { OwnedFd } from '../../core/kernel/fd.js';
import { INTERFACE, INTROSPECTABLE, PEER, PROPERTIES } from '../../core/wire/names.js';
import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, makeErofs, policyText } from '../support/images.js';
import { makeScratch } from '../support/scratch.js';

const OWNER = 4719;
const STRANGER = 4720;
const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const repository = join(scratch.path, 'repository');
const digest = makeErofs(image, { hello: 'hello\n' });
let daemon: Daemon;
let stranger: Actor;
let owner: Actor;

before(async () => {
  addToRepository(repository, image, 'team/base');
  const policy = policyText({ digests: [digest], users: [OWNER], repositories: { [repository]: 'trusted' } });
  daemon = await startDaemon({ policy });
  stranger = await startActor({ uid: STRANGER });
  owner = await startActor({ uid: OWNER });
  await owner.do(
    ({ client, store }, { address }) => {
      const connection = client.connect({ address });
      store['kept'] = connection.mountImage('team/base').mount; // something there is to see
    },
    { address: daemon.address },
  );
});
after(async () => {
  await stranger?.stop();
  await owner?.stop();
  await daemon?.stop();
  scratch.remove();
});

interface Attempt {
  readonly signature?: string;
  /** As JSON; a [signature, value] pair where `variantAt` points. */
  readonly body?: readonly unknown[];
  readonly variantAt?: number;
  /** u the caller's user namespace, f the image, d a directory. */
  readonly fds?: string;
  /** What must come of it. */
  readonly expected: string;
  /** And what the answer must be, if it is one. */
  readonly answer?: unknown;
}

const OTHER = `sha256:${'1'.repeat(64)}`;

/** Every member there is, with the ways a stranger could use it. */
const ATTEMPTS: Readonly<Record<string, readonly Attempt[]>> = {
  [`${INTERFACE}.MountImage`]: [
    { signature: 'sha{sv}', body: ['team/base', 0, []], fds: 'u', expected: 'NotTrusted' },
    { signature: 'sha{sv}', body: [digest, 0, []], fds: 'u', expected: 'NotTrusted' },
    { signature: 'sha{sv}', body: [OTHER, 0, []], fds: 'u', expected: 'NotTrusted' },
  ],
  [`${INTERFACE}.MountFile`]: [
    { signature: 'hahha{sv}', body: [1, [], 0, []], fds: 'uf', expected: 'NotTrusted' },
    { signature: 'hahha{sv}', body: [1, [2], 0, []], fds: 'ufd', expected: 'NotTrusted' },
  ],
  [`${INTERFACE}.CheckImage`]: [
    { signature: 'sa{sv}', body: ['team/base', []], expected: 'NotTrusted' },
    { signature: 'sa{sv}', body: [digest, []], expected: 'NotTrusted' },
  ],
  [`${INTERFACE}.CheckFile`]: [{ signature: 'haha{sv}', body: [0, [], []], fds: 'f', expected: 'NotTrusted' }],
  [`${INTERFACE}.ListImages`]: [{ signature: 'a{sv}', body: [[]], expected: 'reply', answer: [[]] }],
  [`${INTERFACE}.ListMounts`]: [{ signature: 'a{sv}', body: [[]], expected: 'reply', answer: [[]] }],
  [`${INTERFACE}.Reload`]: [{ expected: 'NotAuthorized' }],
  [`${PROPERTIES}.Get`]: [
    { signature: 'ss', body: [INTERFACE, 'Secret'], expected: 'org.freedesktop.DBus.Error.UnknownProperty' },
    { signature: 'ss', body: [INTERFACE, '__proto__'], expected: 'org.freedesktop.DBus.Error.UnknownProperty' },
    { signature: 'ss', body: [INTERFACE, 'constructor'], expected: 'org.freedesktop.DBus.Error.UnknownProperty' },
  ],
  [`${PROPERTIES}.GetAll`]: [
    { signature: 's', body: ['org.example.Other'], expected: 'org.freedesktop.DBus.Error.UnknownInterface' },
  ],
  [`${PROPERTIES}.Set`]: [
    {
      signature: 'ssv',
      body: [INTERFACE, 'Version', ['s', 'x']],
      variantAt: 2,
      expected: 'org.freedesktop.DBus.Error.PropertyReadOnly',
    },
    {
      signature: 'ssv',
      body: [INTERFACE, 'Features', ['as', []]],
      variantAt: 2,
      expected: 'org.freedesktop.DBus.Error.PropertyReadOnly',
    },
    {
      signature: 'ssv',
      body: [INTERFACE, 'Policy', ['a{sv}', []]],
      variantAt: 2,
      expected: 'org.freedesktop.DBus.Error.PropertyReadOnly',
    },
  ],
  [`${INTROSPECTABLE}.Introspect`]: [{ expected: 'reply' }],
  [`${PEER}.Ping`]: [{ expected: 'reply', answer: [] }],
  [`${PEER}.GetMachineId`]: [{ expected: 'reply' }],
};

/** Readable by everybody: they say nothing of any user, image or path. */
const PROPERTIES_READABLE = ['Features', 'Policy', 'Version'];

interface Answer {
  readonly what: string;
  readonly body: unknown;
  readonly fds: number;
}

function call(actor: Actor, name: string, attempt: Omit<Attempt, 'expected'>): Promise<Answer> {
  const dot = name.lastIndexOf('.');
  return actor.do(
    ({ file, rawCall, variants }, { socket, image, name, member, attempt }) => {
      const paths: Record<string, string> = { u: '/proc/self/ns/user', f: image, d: '/tmp' };
      const fds: OwnedFd[] = (attempt.fds ?? '').split('').map((kind) => file.openPath(paths[kind]!, file.O_RDONLY));
      const body = (attempt.body ?? []).map((value, index) => {
        if (index !== attempt.variantAt) return value;
        const [signature, inner] = value as [string, unknown];
        return variants.variant(signature, inner);
      });
      try {
        return rawCall.callRaw(socket, { member, interface: name, signature: attempt.signature ?? '', body, fds });
      } finally {
        for (const fd of fds) fd.close();
      }
    },
    { socket: daemon.socket, image, name: name.slice(0, dot), member: name.slice(dot + 1), attempt },
  );
}

async function readXml(): Promise<string> {
  const { body } = await call(stranger, `${INTROSPECTABLE}.Introspect`, {});
  return (body as [string])[0];
}

function namesIn(xml: string, tag: 'method' | 'property' | 'signal'): string[] {
  return [...xml.matchAll(/<interface name="([^"]+)">([\s\S]*?)<\/interface>/g)].flatMap(([, name, inside]) =>
    [...inside!.matchAll(new RegExp(`<${tag} name="([^"]+)"`, 'g'))].map((match) => `${name}.${match[1]}`),
  );
}

test('the table here has every method of the introspection data, and no other', async () => {
  const methods = namesIn(await readXml(), 'method');
  assert.deepEqual(methods.sort(), Object.keys(ATTEMPTS).sort());
});

test('every property of the introspection data is known here, and none can be set', async () => {
  const xml = await readXml();
  assert.deepEqual(
    namesIn(xml, 'property').sort(),
    PROPERTIES_READABLE.map((name) => `${INTERFACE}.${name}`),
  );
  assert.doesNotMatch(xml, /access="(write|readwrite)"/);
  assert.deepEqual(namesIn(xml, 'signal'), []);
  for (const name of PROPERTIES_READABLE) {
    const { what } = await call(stranger, `${PROPERTIES}.Get`, { signature: 'ss', body: [INTERFACE, name] });
    assert.equal(what, 'reply', name);
    for (const signature of ['s', 'as', 'b', 'u']) {
      const value = [signature, { s: 'x', as: ['x'], b: true, u: 1 }[signature]];
      const set = await call(stranger, `${PROPERTIES}.Set`, { signature: 'ssv', body: [INTERFACE, name, value], variantAt: 2 });
      assert.equal(set.what, 'org.freedesktop.DBus.Error.PropertyReadOnly', `${name} as ${signature}`);
    }
  }
});

for (const [name, attempts] of Object.entries(ATTEMPTS)) {
  for (const [index, attempt] of attempts.entries()) {
    test(`a stranger gets nothing out of ${name}, attempt ${index + 1}`, async () => {
      const { what, body, fds } = await call(stranger, name, attempt);
      assert.equal(what, attempt.expected);
      assert.equal(fds, 0, 'no descriptor comes back');
      if (attempt.answer !== undefined) assert.deepEqual(body, attempt.answer);
    });
  }
}

test('what a stranger can read names no user, rule, path or digest', async () => {
  const readable = await call(stranger, `${PROPERTIES}.GetAll`, { signature: 's', body: [INTERFACE] });
  const all = JSON.stringify([readable.body, await readXml()]);
  for (const secret of [digest, digest.slice(7), String(OWNER), repository, scratch.path, 'team/base']) {
    assert.ok(!all.includes(secret), secret);
  }
});

test('the interface may be left out, and the check stays', async () => {
  const { what } = await stranger.do(({ rawCall }, { socket }) => rawCall.callRaw(socket, { member: 'Reload', interface: '' }), {
    socket: daemon.socket,
  });
  assert.equal(what, 'NotAuthorized');
});

test('root in a user namespace of its own is not root', async () => {
  const uid = await stranger.do(() => process.getuid!(), null);
  assert.equal(uid, 0, 'the stranger is root where it lives');
  const { what } = await call(stranger, `${INTERFACE}.Reload`, {});
  assert.equal(what, 'NotAuthorized');
});

test('the one the rule names gets it all', async () => {
  const mounted = await call(owner, `${INTERFACE}.MountImage`, { signature: 'sha{sv}', body: ['team/base', 0, []], fds: 'u' });
  assert.equal(mounted.what, 'reply');
  assert.equal(mounted.fds, 1);
  const listed = await call(owner, `${INTERFACE}.ListImages`, { signature: 'a{sv}', body: [[]] });
  assert.equal((listed.body as [unknown[]])[0].length, 1);
});
