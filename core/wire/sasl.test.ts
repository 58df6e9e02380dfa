import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { clientHello, createSaslClient } from './sasl-client.js';
import { createSaslServer } from './sasl-server.js';
import type { SaslServerStep } from './sasl-server.js';

const guid = '0123456789abcdef'.repeat(2);
const OK = `OK ${guid}`;
const HEX_1000 = '31303030';

/** What the server says to all of a stream, given in pieces. */
function talk(...pieces: (string | Buffer)[]): { replies: string; end: SaslServerStep } {
  const server = createSaslServer({ guid, peerUid: 1000 });
  let replies = '';
  for (const piece of pieces) {
    const end = server.push(Buffer.from(piece as string, 'latin1'));
    replies += end.reply?.toString('latin1') ?? '';
    if (end.done !== undefined || end.reject !== undefined) return { replies, end };
  }
  return { replies, end: {} };
}
const lines = (...all: string[]): string => all.map((line) => `${line}\r\n`).join('');

const conversations: [string, string, string[], boolean][] = [
  ['sd-bus, pipelined', '\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n', ['DATA', OK, 'AGREE_UNIX_FD'], true],
  ['libdbus', `\0AUTH EXTERNAL ${HEX_1000}\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n`, [OK, 'AGREE_UNIX_FD'], true],
  [
    'GDBus',
    `\0AUTH\r\nAUTH EXTERNAL ${HEX_1000}\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n`,
    ['REJECTED EXTERNAL', OK, 'AGREE_UNIX_FD'],
    true,
  ],
  ['identity in DATA', `\0AUTH EXTERNAL\r\nDATA ${HEX_1000}\r\nBEGIN\r\n`, ['DATA', OK], false],
  ['empty identity behind EXTERNAL and a space', '\0AUTH EXTERNAL \r\nBEGIN\r\n', [OK], false],
  [
    'another mechanism first',
    `\0AUTH DBUS_COOKIE_SHA1 31\r\nAUTH ANONYMOUS\r\nAUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n`,
    ['REJECTED EXTERNAL', 'REJECTED EXTERNAL', 'DATA', OK],
    false,
  ],
  [
    'cancelled, fds forgotten',
    `\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nCANCEL\r\nAUTH EXTERNAL\r\nCANCEL\r\nAUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n`,
    ['DATA', OK, 'AGREE_UNIX_FD', 'REJECTED EXTERNAL', 'DATA', 'REJECTED EXTERNAL', 'DATA', OK],
    false,
  ],
  [
    'ERROR after OK',
    `\0AUTH EXTERNAL\r\nDATA\r\nERROR "x"\r\nAUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n`,
    ['DATA', OK, 'REJECTED EXTERNAL', 'DATA', OK],
    false,
  ],
  [
    'unknown commands',
    `\0FOO\r\nNEGOTIATE_UNIX_FD\r\nDATA\r\nAUTH EXTERNAL\r\nAUTH EXTERNAL\r\nDATA\r\nDATA\r\nNEGOTIATE_UNIX_FD x\r\nBEGIN\r\n`,
    ['ERROR', 'ERROR', 'ERROR', 'DATA', 'ERROR', OK, 'ERROR', 'ERROR'],
    false,
  ],
];
for (const [name, said, replies, unixFds] of conversations) {
  test(`server: ${name}, in one piece and byte by byte`, () => {
    for (const pieces of [[`${said}rest`], said.split('')]) {
      const got = talk(...pieces);
      assert.equal(got.replies, lines(...replies));
      assert.equal(got.end.done?.unixFds, unixFds);
      assert.equal(got.end.done?.rest.toString(), pieces.length === 1 ? 'rest' : '');
    }
  });
}

// uid 0 as a client in a user namespace believes; other people's; spellings that some parser would take for 1000.
for (const hex of [
  '30',
  '31303031',
  '303130303030',
  '2b31303030',
  '3130303020',
  '313030300a',
  '31303030 ',
  '3130303',
  'zz',
  '1000',
  '313030300000',
]) {
  test(`server rejects the identity ${JSON.stringify(hex)}`, () => {
    assert.equal(talk(`\0AUTH EXTERNAL ${hex}\r\n`).replies, 'REJECTED EXTERNAL\r\n');
    assert.match(talk(`\0AUTH EXTERNAL\r\nDATA ${hex}\r\n`).replies, /^DATA\r\n(REJECTED EXTERNAL|ERROR)\r\n$/);
  });
}

const closed: [string, string][] = [
  ['first byte not NUL', 'AUTH EXTERNAL\r\n'],
  ['BEGIN first', '\0BEGIN\r\n'],
  ['BEGIN before DATA', '\0AUTH EXTERNAL\r\nBEGIN\r\n'],
  ['BEGIN after rejection', '\0AUTH EXTERNAL 30\r\nBEGIN\r\n'],
  ['LF alone', '\0AUTH EXTERNAL\n'],
  ['CR inside', '\0AUTH\rEXTERNAL\r\n'],
  ['NUL inside', '\0AUTH\0EXTERNAL\r\n'],
  ['not ASCII', '\0AUTH \xe9\r\n'],
];
for (const [name, said] of closed) test(`server closes: ${name}`, () => assert.ok(talk(said).end.reject));

test('server limits: a line of 512 bytes, 16 lines, 4096 bytes', () => {
  const line = (bytes: number): string => `${'x'.repeat(bytes - 2)}\r\n`;
  assert.equal(talk(`\0${line(512)}`).end.reject, undefined);
  assert.ok(talk(`\0${line(513)}`).end.reject);
  assert.ok(talk(`\0${'x'.repeat(512)}`).end.reject);
  assert.equal(talk(`\0${lines(...Array<string>(16).fill('X'))}`).end.reject, undefined);
  assert.ok(talk(`\0${lines(...Array<string>(17).fill('X'))}`).end.reject);
  assert.equal(talk(`\0${line(512).repeat(7)}${line(511)}`).end.reject, undefined);
  assert.ok(talk(`\0${line(512).repeat(8)}`).end.reject);
});

test('fuzz: nobody gets in without the right identity', () => {
  const word = fc.constantFrom(
    'AUTH',
    'EXTERNAL',
    'DATA',
    '30',
    '31303031',
    'BEGIN',
    'NEGOTIATE_UNIX_FD',
    'CANCEL',
    'ERROR',
    ' ',
    '\r\n',
    '\r\n',
    '\n',
    'x',
  );
  fc.assert(
    fc.property(fc.array(word), (words) => {
      const { end, replies } = talk(`\0${words.join('')}`);
      if (end.done !== undefined) assert.ok(replies.includes(OK));
    }),
    { numRuns: 500 },
  );
});

test('client and server understand each other, in one piece and byte by byte', () => {
  const server = createSaslServer({ guid, peerUid: 1000 });
  const { reply = Buffer.alloc(0), done } = server.push(clientHello());
  assert.deepEqual(done, { unixFds: true, rest: Buffer.alloc(0) });
  const whole = createSaslClient().push(Buffer.concat([reply, Buffer.from('rest')]));
  assert.deepEqual(whole, { done: { guid, rest: Buffer.from('rest') } });
  const client = createSaslClient();
  const steps = [...reply].map((byte) => client.push(Buffer.from([byte])));
  assert.deepEqual(steps.at(-1), { done: { guid, rest: Buffer.alloc(0) } });
  assert.ok(steps.slice(0, -1).every((step) => step.done === undefined && step.reject === undefined));
});

for (const said of [
  'REJECTED EXTERNAL\r\n',
  'OK x\r\n',
  'DATA\r\nOK short\r\n',
  `DATA\r\n${OK}\r\nERROR\r\n`,
  `DATA 00\r\n`,
  'x'.repeat(512),
  'DATA\r\nREJECTED\r\n',
  '\r\n',
]) {
  test(`client gives up on ${JSON.stringify(said.slice(0, 40))}`, () =>
    assert.ok(createSaslClient().push(Buffer.from(said)).reject));
}

test('client is let in by dbus-daemon', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sasl-'));
  const path = join(directory, 'bus');
  const daemon = spawn('dbus-daemon', ['--session', '--nofork', '--print-address', `--address=unix:path=${path}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await once(daemon.stdout, 'data');
    const socket = createConnection(path);
    socket.write(clientHello());
    const client = createSaslClient();
    for await (const chunk of socket) {
      const step = client.push(chunk as Buffer);
      assert.equal(step.reject, undefined);
      if (step.done === undefined) continue;
      assert.equal(step.done.guid.length, 32);
      break;
    }
    socket.destroy();
  } finally {
    daemon.kill();
    await once(daemon, 'exit');
    rmSync(directory, { recursive: true });
  }
});
