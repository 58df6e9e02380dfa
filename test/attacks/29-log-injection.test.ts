// Row 29: text of callers in the log. Needed: pino's JSON, and quoteClientText where text of a caller is repeated (core/wire/quote.ts, log.ts,
// core/wire/schemas.ts).
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { makeErofs, policyText } from '../support/images.js';
import { makeScratch } from '../support/scratch.js';

const scratch = makeScratch();
let daemon: Daemon;
let actor: Actor;

before(async () => {
  const digest = makeErofs(join(scratch.path, 'image.erofs'), { 'hello.txt': 'hello\n' });
  daemon = await startDaemon({ policy: policyText({ digests: [digest] }) });
  actor = await startActor({ uid: 4758 });
});
after(async () => {
  await actor?.stop();
  await daemon?.kill();
  scratch.remove();
});

const FORGED = '{"level":"info","audit":true,"uid":0,"verdict":"allow","msg":"allowed"}';
const TEXTS = [
  `x\n${FORGED}`,
  `x\r\n${FORGED}\r\n`,
  `x\u2028${FORGED}\u2029`,
  `x","verdict":"allow","y":"`,
  '\u001b]0;title\u0007\u001b[2J\u001b[31mred',
  '\u0001\u0002\u0008\u000b\u007f',
  '\u0080\u0085\u009b31m\u009d0;t\u009c',
  '\u200e\u202a\u202e\u2066\u2069\ufeff',
  '\\u000a\\n%s%n',
  '\ud83d\ude00 \u00e9',
];
// Control characters (C0 but the line's own end, DEL, C1), line separators and what changes the direction of text.
// eslint-disable-next-line no-control-regex
const RAW = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/;

for (const [index, text] of TEXTS.entries()) {
  test(`one line for each call, and nothing raw in it: ${JSON.stringify(text).slice(0, 40)}`, async () => {
    const before = { audits: daemon.audits().length, bytes: daemon.stderr().length };
    const calls = await actor.do(
      ({ raw, codec, variants, file }, { socket, text }) => {
        const option = (key: string, value: string) => [[key, variants.variant('s', value)]];
        const fd = file.openPath('/dev/null', file.O_RDONLY);
        const messages = [
          { member: 'CheckImage', signature: 'sa{sv}', body: [text, []], fds: 0 },
          { member: 'CheckImage', signature: 'sa{sv}', body: ['name', option(text, 'x')], fds: 0 },
          { member: 'CheckImage', signature: 'sa{sv}', body: ['name', option('digest', text)], fds: 0 },
          { member: 'CheckImage', signature: 'sa{sv}', body: ['name', [...option(text, 'x'), ...option(text, 'y')]], fds: 0 },
          { member: 'MountImage', signature: 'sha{sv}', body: [text, 0, []], fds: 1 },
          { member: 'CheckFile', signature: 'haha{sv}', body: [0, [], option('digest', text)], fds: 1 },
        ];
        for (const message of messages) {
          const connection = raw.connectAuthenticated(socket);
          const call = { path: '/org/composefs/Mount1', interface: 'org.composefs.Mount1', serial: 1 };
          connection.send(codec.encodeMethodCall({ ...call, ...message }), Array(message.fds).fill(fd));
          connection.receive(5_000);
          connection.close();
        }
        fd.close();
        return messages.length;
      },
      { socket: daemon.socket, text },
    );
    await daemon.eventually('all calls are in the log', () => daemon.audits().length >= before.audits + calls);
    const written = daemon.stderr().slice(before.bytes);
    assert.doesNotMatch(written, RAW, `text ${index}`);
    const lines = daemon.audits().slice(before.audits);
    assert.equal(lines.length, calls);
    for (const line of lines) {
      assert.deepEqual([line['uid'], line['verdict'], line.msg], [4758, 'deny', 'denied']);
      for (const value of Object.values(line))
        if (typeof value === 'string') assert.ok(value.length < 400 && !RAW.test(value), value);
    }
  });
}

test('text without anything special arrives as it is', async () => {
  await actor.do(
    ({ client }, { address }) => {
      const connection = client.connect({ address });
      try {
        connection.checkImage('no.such-image');
      } catch {
        // as it should
      }
      connection.close();
    },
    { address: daemon.address },
  );
  await daemon.eventually('it is in the log', () => daemon.audits().at(-1)?.['image'] === 'no.such-image');
});
