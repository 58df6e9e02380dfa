import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { decodeMessage, encodeError, encodeMethodReturn } from './codec.js';
import { StandardError, errorName, errorText } from './errors.js';
import { createFrameSplitter } from './frames.js';
import { REQUEST_LIMITS, checkMessage } from './guard.js';
import { introspect } from './introspection.js';
import { BUS_NAME, INTERFACE, OBJECT_PATH } from './names.js';
import { createSaslServer } from './sasl-server.js';

// The parts of this folder put together as a server, and three D-Bus implementations that are not ours as its clients.

const run = promisify(execFile);
const directory = mkdtempSync(join(tmpdir(), 'wire-'));
const address = `unix:path=${join(directory, 'socket')}`;
const sockets = new Set<Socket>();
const server = createServer((socket) => {
  sockets.add(socket);
  const sasl = createSaslServer({ guid: '0123456789abcdef'.repeat(2), peerUid: process.getuid?.() ?? -1 });
  const frames = createFrameSplitter(REQUEST_LIMITS.maxBytes);
  let authenticated = false;
  socket.on('data', (chunk: Buffer) => {
    let bytes = chunk;
    if (!authenticated) {
      const { reply, done } = sasl.push(chunk);
      if (reply !== undefined) socket.write(reply);
      if (done === undefined) return;
      authenticated = true;
      bytes = done.rest;
    }
    for (const message of frames.push(bytes)) socket.write(answer(message));
  });
});

function answer(frame: Buffer): Buffer {
  const { header } = decodeMessage(frame, checkMessage(frame, REQUEST_LIMITS, 0));
  const reply = { serial: header.serial, replySerial: header.serial };
  if (header.member === 'Hello') return encodeMethodReturn({ ...reply, signature: 's', body: [':1.1'] });
  const xml = introspect(header.path);
  if (header.member === 'Introspect' && xml !== undefined) return encodeMethodReturn({ ...reply, signature: 's', body: [xml] });
  const error = new StandardError('UnknownMethod', `no method ${header.member}`);
  return encodeError({ ...reply, errorName: errorName(error), text: errorText(error) });
}

before(async () => {
  server.listen(join(directory, 'socket'));
  await once(server, 'listening');
});

after(() => {
  for (const socket of sockets) socket.destroy();
  server.close();
  rmSync(directory, { recursive: true });
});

const METHODS = ['MountImage', 'MountFile', 'CheckImage', 'CheckFile', 'ListImages', 'ListMounts', 'Reload'];

test('sd-bus: busctl introspects, reads an error', async () => {
  const { stdout } = await run('busctl', [`--address=${address}`, '--xml-interface', 'introspect', BUS_NAME, OBJECT_PATH]);
  assert.equal(stdout.trim(), introspect(OBJECT_PATH)?.trim());
  await assert.rejects(
    run('busctl', [`--address=${address}`, 'call', BUS_NAME, OBJECT_PATH, INTERFACE, 'Nothing']),
    /no method Nothing/,
  );
});

test('GDBus: gdbus introspects the tree, reads an error', async () => {
  const { stdout } = await run('gdbus', [
    'introspect',
    '--address',
    address,
    '--dest',
    BUS_NAME,
    '--object-path',
    '/',
    '--recurse',
  ]);
  for (const method of METHODS) assert.ok(stdout.includes(`${method}(`), method);
  const call = [
    'call',
    '--address',
    address,
    '--dest',
    BUS_NAME,
    '--object-path',
    OBJECT_PATH,
    '--method',
    `${INTERFACE}.Nothing`,
  ];
  await assert.rejects(run('gdbus', call), /UnknownMethod: no method Nothing/);
});

test('libdbus: dbus-send introspects without a bus', async () => {
  const call = ['--print-reply=literal', `--peer=${address}`, OBJECT_PATH, 'org.freedesktop.DBus.Introspectable.Introspect'];
  const { stdout } = await run('dbus-send', call);
  assert.equal(stdout.trim(), introspect(OBJECT_PATH)?.trim());
});
