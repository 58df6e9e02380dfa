// The other side is written down beforehand: a client that blocks its thread is answered by what already lies in the socket.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { afterEach, beforeEach, test } from 'node:test';
import { OwnedFd, sameOpenFile } from '../core/kernel/fd.js';
import { O_RDONLY, openPath } from '../core/kernel/file.js';
import { receive, send, socketPair } from '../core/kernel/socket.js';
import { decodeMessage, encodeError, encodeMethodReturn, encodeSignal } from '../core/wire/codec.js';
import { createFrameSplitter } from '../core/wire/frames.js';
import { REQUEST_LIMITS, checkMessage } from '../core/wire/guard.js';
import { clientHello } from '../core/wire/sasl-client.js';
import { type MethodCall, openConnection } from './connection.js';

const WELCOME = `DATA\r\nOK ${'0'.repeat(32)}\r\nAGREE_UNIX_FD\r\n`;
const CALL: MethodCall = { path: '/a', interface: 'a.b', member: 'Do', signature: 's', body: ['x'], answers: 'hs' };
const TIMEOUT_MS = 100;

let peer: OwnedFd;
let socket: OwnedFd;
let before: number;

beforeEach(() => {
  before = countFds();
  [socket, peer] = socketPair();
});
afterEach(() => {
  peer.close();
  assert.equal(countFds(), before, 'descriptors left open');
});

function countFds(): number {
  return readdirSync('/proc/self/fd').length;
}

function put(bytes: Buffer | string, fds: readonly OwnedFd[] = []): void {
  const data = Buffer.from(bytes as string);
  assert.equal(send(peer, data, fds), data.length);
}

function answer(replySerial: number, body: readonly unknown[], signature: string, fds = 0): Buffer {
  return encodeMethodReturn({ serial: 7, replySerial, signature, body, fds });
}

const open = (bus = false) => openConnection(socket, { bus, timeoutMs: TIMEOUT_MS });

/** What the client sent until now. */
function receiveAll(): { bytes: Buffer; fds: OwnedFd[] } {
  const buffer = Buffer.alloc(65536);
  const all = { bytes: Buffer.alloc(0), fds: [] as OwnedFd[] };
  for (let got = receive(peer, buffer); got && got.bytes > 0; got = receive(peer, buffer)) {
    all.bytes = Buffer.concat([all.bytes, buffer.subarray(0, got.bytes)]);
    all.fds.push(...got.fds);
  }
  return all;
}

test('call answered with a descriptor: it is the one that was sent, and owned', () => {
  using file = openPath('/proc/self/status', O_RDONLY);
  put(WELCOME);
  put(answer(1, [0, 'yes'], 'hs', 1), [file]);
  const connection = open();
  const { body, fds } = connection.call(CALL);
  using got = fds.steal(0);
  assert.equal(body[1], 'yes');
  assert.ok(got && sameOpenFile(got, file));
  connection.close();
});

test('the request arrives as it was meant, its descriptor with it', () => {
  using file = openPath('/proc/self/status', O_RDONLY);
  put(WELCOME);
  put(answer(1, [0, ''], 'hs', 1), [file]);
  const connection = open();
  using _fds = connection.call({ ...CALL, signature: 'hs', body: [0, 'x'], fds: [file] }).fds;
  connection.close();
  const { bytes, fds } = receiveAll();
  assert.equal(fds.length, 1);
  fds[0]!.close();
  const [message] = createFrameSplitter(REQUEST_LIMITS.maxBytes).push(bytes.subarray(clientHello().length));
  const header = checkMessage(message!, REQUEST_LIMITS, 1);
  assert.deepEqual([header.path, header.interface, header.member, header.destination], ['/a', 'a.b', 'Do', '']);
  assert.deepEqual(decodeMessage(message!, header).body, [0, 'x']);
});

test('an answer that comes byte by byte is put together', () => {
  put(WELCOME);
  for (const byte of answer(1, ['yes'], 's')) put(Buffer.from([byte]));
  const connection = open();
  assert.deepEqual(connection.call({ ...CALL, answers: 's' }).body, ['yes']);
  connection.close();
});

test('an error of the service: its code, message and hint; the connection lives on', () => {
  put(WELCOME);
  put(encodeError({ serial: 1, replySerial: 1, errorName: 'org.composefs.Mount1.Error.NotTrusted', text: 'no rule\nask root' }));
  put(answer(2, ['yes'], 's'));
  const connection = open();
  assert.throws(() => connection.call(CALL), { name: 'RequestError', code: 'NotTrusted', message: 'no rule', hint: 'ask root' });
  assert.deepEqual(connection.call({ ...CALL, answers: 's' }).body, ['yes']);
  connection.close();
});

const standard: [name: string, code: string][] = [
  ['org.freedesktop.DBus.Error.AccessDenied', 'NotAuthorized'],
  ['org.freedesktop.DBus.Error.UnknownMethod', 'NotSupported'],
  ['org.freedesktop.DBus.Error.LimitsExceeded', 'QuotaExceeded'],
  ['org.freedesktop.DBus.Error.ServiceUnknown', 'Failed'],
  ['org.freedesktop.DBus.Error.NoReply', 'Failed'],
  ['com.example.Strange', 'Failed'],
];
for (const [errorName, code] of standard) {
  test(`error of D-Bus itself translated: ${errorName}`, () => {
    put(WELCOME);
    put(encodeError({ serial: 1, replySerial: 1, errorName, text: 'text' }));
    const connection = open();
    assert.throws(() => connection.call(CALL), { name: 'RequestError', code });
    connection.close();
  });
}

test('on a bus: Hello first, then calls with the destination', () => {
  put(WELCOME);
  put(answer(1, [':1.7'], 's'));
  put(answer(2, ['yes'], 's'));
  const connection = open(true);
  assert.deepEqual(connection.call({ ...CALL, answers: 's' }).body, ['yes']);
  connection.close();
  const buffer = Buffer.alloc(65536);
  let sent = '';
  for (let got = receive(peer, buffer); got && got.bytes > 0; got = receive(peer, buffer))
    sent += buffer.toString('latin1', 0, got.bytes);
  assert.match(sent, /org\.freedesktop\.DBus.*Hello.*org\.composefs\.Mount1/s);
});

test('signals, answers to others and their descriptors are dropped', () => {
  using file = openPath('/proc/self/status', O_RDONLY);
  put(WELCOME);
  put(encodeSignal({ serial: 1, path: '/a', interface: 'a.b', member: 'S', signature: 'h', body: [0], fds: 1 }), [file]);
  put(answer(99, [0], 'h', 1), [file]);
  put(answer(1, ['yes'], 's'));
  const connection = open();
  assert.deepEqual(connection.call({ ...CALL, answers: 's' }).body, ['yes']);
  connection.close();
});

test('a signal the guard refuses costs neither the connection nor a descriptor', () => {
  using file = openPath('/proc/self/status', O_RDONLY);
  const signal = encodeSignal({ serial: 1, path: '/a', interface: 'a.b', member: 'S', signature: 'hu', body: [0, 1], fds: 1 });
  signal.writeUInt32LE(5, signal.length - 8); // the index of a descriptor that is not there
  put(WELCOME);
  put(signal, [file]);
  put(answer(1, ['yes'], 's'));
  const connection = open();
  assert.deepEqual(connection.call({ ...CALL, answers: 's' }).body, ['yes']);
  connection.close();
});

const broken: [name: string, put: () => void, code: string][] = [
  ['a server that refuses who we are', () => put('REJECTED EXTERNAL\r\n'), 'Failed'],
  ['a server that passes no descriptors', () => put(WELCOME.replace('AGREE_UNIX_FD', 'ERROR')), 'Failed'],
  ['something that does not speak D-Bus', () => put('HTTP/1.1 400 Bad Request\r\n\r\n'), 'Failed'],
  ['a server that closes at once', () => peer.close(), 'Failed'],
  ['a server that says nothing', () => undefined, 'Timeout'],
  ['a server that stops in the middle', () => put(WELCOME.slice(0, 20)), 'Timeout'],
];
for (const [name, prepare, code] of broken) {
  test(`no connection to ${name}`, () => {
    prepare();
    assert.throws(() => open(), { name: 'RequestError', code });
    assert.equal(socket.isOpen, false);
  });
}

test('a descriptor during authentication ends the connection and is closed', () => {
  using file = openPath('/proc/self/status', O_RDONLY);
  put(WELCOME, [file]);
  assert.throws(() => open(), { name: 'RequestError', code: 'Failed' });
  assert.equal(socket.isOpen, false);
});

const lost: [name: string, put: (file: OwnedFd) => void, code: string][] = [
  ['no answer', () => undefined, 'Timeout'],
  ['the end of the stream', () => peer.close(), 'Failed'],
  ['half an answer', (file) => put(answer(1, [0, ''], 'hs', 1).subarray(0, 40), [file]), 'Timeout'],
  ['an answer of another signature', (file) => put(answer(1, [0], 'h', 1), [file]), 'Failed'],
  ['an answer that claims more descriptors than came', (file) => put(answer(1, [0, ''], 'hs', 2), [file]), 'Failed'],
  ['an index without a descriptor', (file) => put(answer(1, [1, ''], 'hs', 1), [file]), 'Failed'],
  ['bytes that are no message', (file) => put(Buffer.alloc(64, 0xff), [file]), 'Failed'],
];
for (const [name, prepare, code] of lost) {
  test(`call ended by ${name}: the connection and every descriptor closed`, () => {
    using file = openPath('/proc/self/status', O_RDONLY);
    put(WELCOME);
    const connection = open();
    prepare(file);
    assert.throws(() => connection.call(CALL), { name: 'RequestError', code });
    assert.equal(socket.isOpen, false);
    assert.throws(() => connection.call(CALL), { name: 'RequestError', message: 'the connection is closed' });
  });
}

test('a request too long for the service is refused here, and the connection kept', () => {
  put(WELCOME);
  put(answer(2, ['yes'], 's'));
  const connection = open();
  assert.throws(() => connection.call({ ...CALL, body: ['x'.repeat(65536)] }), { name: 'RequestError', code: 'BadRequest' });
  assert.deepEqual(connection.call({ ...CALL, answers: 's' }).body, ['yes']);
  connection.close();
});

test('an asynchronous call leaves the thread free until the answer comes', async () => {
  put(WELCOME);
  const connection = open();
  const call = connection.callAsync({ ...CALL, answers: 's' });
  assert.throws(() => connection.call(CALL), TypeError);
  setImmediate(() => put(answer(1, ['yes'], 's')));
  assert.deepEqual((await call).body, ['yes']);
  connection.close();
});

test('an asynchronous call without an answer ends in time', async () => {
  put(WELCOME);
  const connection = open();
  await assert.rejects(connection.callAsync(CALL), { name: 'RequestError', code: 'Timeout' });
  assert.equal(socket.isOpen, false);
});
