// Rows 16 and 29: text that means something to somebody else, in every string of every method: separators of mount options, NUL, newlines, control
// characters, a mebibyte. Needed: strict schemas of names and options (core/wire/schemas.ts), a limit of 64 KiB for a call (core/wire/guard.ts).
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, makeErofs, policyText } from '../support/images.js';
import type { Kit } from '../support/kit.js';
import { makeScratch } from '../support/scratch.js';
import { mountOnce } from '../support/steps.js';

const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const repository = join(scratch.path, 'repository');
let daemon: Daemon;
let actor: Actor;

before(async () => {
  const digest = makeErofs(image, { 'hello.txt': 'hello\n' });
  addToRepository(repository, image, 'base');
  daemon = await startDaemon({ policy: policyText({ digests: [digest], repositories: { [repository]: 'trusted' } }) });
  actor = await startActor({ uid: 4757 });
});
after(async () => {
  await actor?.stop();
  await daemon?.kill();
  scratch.remove();
});

const TEXTS: Readonly<Record<string, string>> = {
  'a comma': 'base,dev,suid',
  'a comma before': ',rw',
  'an equals sign': 'base=rw',
  'a layer separator': 'base:/etc',
  'two of them': 'base::/root',
  '%n': 'base%n%n%s',
  'a newline': 'base\nuid=0',
  'a carriage return': 'base\r',
  'an escape': 'base\u001b[2J',
  'a backslash': 'base\\054dev',
  quotes: '"base" \'x\'',
  'a C1 control': 'base\u0085\u009b31m',
  'a bidi control': 'base\u202e\u2066',
  'a zero-width space': 'base\u200b',
  'a lone dot': '.',
  'a dash before': '-o',
  'white space': ' base',
  'an upper-level path': '../base',
  'an absolute path': '/etc/passwd',
  'a digest with more behind': `sha256:${'a'.repeat(64)},dev`,
  'a digest with a newline': `sha256:${'a'.repeat(64)}\n`,
  '1 KiB': 'x'.repeat(1 << 10),
};

interface Ask {
  readonly address: string;
  readonly image: string;
  readonly text: string;
}

/** Puts the text into every string of every method; returns how each call was refused, "allowed" if it was not. */
function tryEverywhere({ client, file }: Kit, { address, image, text }: Ask): Record<string, string> {
  const fd = file.openPath(image, file.O_RDONLY);
  const digest = text;
  const calls: Record<string, (connection: ReturnType<typeof client.connect>) => unknown> = {
    'MountImage image': (connection) => connection.mountImage(text).mount.close(),
    'MountImage digest': (connection) => connection.mountImage('base', { digest }).mount.close(),
    'CheckImage image': (connection) => connection.checkImage(text),
    'CheckImage digest': (connection) => connection.checkImage('base', { digest }),
    'MountFile digest': (connection) => connection.mountFile(fd, [], { digest }).mount.close(),
    'CheckFile digest': (connection) => connection.checkFile(fd, [], { digest }),
  };
  const outcomes: Record<string, string> = {};
  for (const [name, call] of Object.entries(calls)) {
    const connection = client.connect({ address });
    try {
      call(connection);
      outcomes[name] = 'allowed';
    } catch (error) {
      outcomes[name] = (error as { code: string }).code;
    } finally {
      connection.close();
    }
  }
  fd.close();
  return outcomes;
}

for (const [what, text] of Object.entries(TEXTS)) {
  test(`refused in every string of every method: ${what}`, async () => {
    const outcomes = await actor.do(tryEverywhere, { address: daemon.address, image, text });
    for (const [call, outcome] of Object.entries(outcomes)) assert.equal(outcome, 'BadRequest', call);
  });
}

/** Keys of options, and values of the wrong type, which the library would not send. */
function sendOptions({ raw, codec, variants }: Kit, { socket, keys }: { socket: string; keys: readonly string[] }): string[] {
  return keys.map((key) => {
    const connection = raw.connectAuthenticated(socket);
    const body = ['base', [[key, variants.variant('s', 'x')]]];
    const call = { path: '/org/composefs/Mount1', interface: 'org.composefs.Mount1', member: 'CheckImage' };
    connection.send(codec.encodeMethodCall({ ...call, serial: 1, signature: 'sa{sv}', body }));
    const got = connection.receive(5_000);
    connection.close();
    if (got === null) return 'hung up';
    return got === 'timeout'
      ? got
      : (/org\.composefs\.Mount1\.Error\.[A-Za-z]+/.exec(got.bytes.toString('latin1'))?.[0] ?? 'answered');
  });
}

test('refused as the name of an option: all of these, and options of the mount system', async () => {
  const keys = [...Object.values(TEXTS), '', 'upperdir', 'lowerdir', 'dev', 'suid', 'rw', '__proto__', 'constructor', 'toString'];
  const outcomes = await actor.do(sendOptions, { socket: daemon.socket, keys });
  assert.deepEqual(
    outcomes,
    keys.map(() => 'org.composefs.Mount1.Error.BadRequest'),
  );
});

for (const size of [65_536, 1 << 20]) {
  test(`a string of ${size} bytes ends the connection, whatever string it is`, async () => {
    const outcomes = await actor.do(
      ({ raw, codec, variants }, { socket, size }) => {
        const text = 'x'.repeat(size);
        const messages = [
          { member: 'CheckImage', signature: 'sa{sv}', body: [text, []] },
          { member: 'CheckImage', signature: 'sa{sv}', body: ['base', [[text, variants.variant('b', true)]]] },
          { member: 'CheckImage', signature: 'sa{sv}', body: ['base', [['digest', variants.variant('s', text)]]] },
        ];
        return messages.map((message) => {
          const connection = raw.connectAuthenticated(socket);
          const call = { path: '/org/composefs/Mount1', interface: 'org.composefs.Mount1', serial: 1 };
          try {
            connection.send(codec.encodeMethodCall({ ...call, ...message }));
            return connection.receive(5_000) === null ? 'hung up' : 'answered';
          } catch {
            return 'hung up';
          } finally {
            connection.close();
          }
        });
      },
      { socket: daemon.socket, size },
    );
    assert.deepEqual(outcomes, ['hung up', 'hung up', 'hung up']);
    await actor.do(mountOnce, { address: daemon.address, image });
  });
}

test('NUL in a string ends the connection', async () => {
  const outcome = await actor.do(
    ({ raw, codec }, { socket }) => {
      const connection = raw.connectAuthenticated(socket);
      const call = { path: '/org/composefs/Mount1', interface: 'org.composefs.Mount1', member: 'CheckImage', serial: 1 };
      const message = codec.encodeMethodCall({ ...call, signature: 'sa{sv}', body: ['base.dev', []] });
      message[message.indexOf('base.dev') + 4] = 0;
      connection.send(message);
      const got = connection.receive(5_000);
      connection.close();
      return got === null;
    },
    { socket: daemon.socket },
  );
  assert.equal(outcome, true);
});
