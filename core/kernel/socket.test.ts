import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { sameOpenFile } from './fd.js';
import { createMemfd } from './file.js';
import { waitReady, watch } from './poll.js';
import {
  acceptStream,
  connectStream,
  endStream,
  listenStream,
  MAX_FDS,
  peerCredentials,
  receive,
  send,
  socketPair,
} from './socket.js';

test('bytes and descriptors arrive together, close-on-exec and owned by the receiver', () => {
  const [left, right] = socketPair();
  using a = left;
  using b = right;
  using file = createMemfd('sent');
  assert.equal(send(a, Buffer.from('hello'), [file, file]), 5);
  const buffer = Buffer.alloc(64);
  const got = receive(b, buffer)!;
  assert.equal(buffer.toString('latin1', 0, got.bytes), 'hello');
  assert.equal(got.fds.length, 2);
  for (const fd of got.fds) {
    assert.ok(sameOpenFile(fd, file));
    fd.close();
  }
  assert.equal(got.truncated, false);
});

test('nothing there yet is null, and the end of the stream is 0 bytes', () => {
  const [left, right] = socketPair();
  using b = right;
  assert.equal(receive(b, Buffer.alloc(8)), null);
  left.close();
  assert.equal(receive(b, Buffer.alloc(8))?.bytes, 0);
});

test('a full queue is null', () => {
  const [left, right] = socketPair();
  using a = left;
  using _b = right;
  const chunk = Buffer.alloc(65536);
  let total = 0;
  for (let sent = send(a, chunk); sent !== null; sent = send(a, chunk)) total += sent;
  assert.ok(total > 0);
});

test(`${MAX_FDS} descriptors go in one message, one more does not`, () => {
  const [left, right] = socketPair();
  using a = left;
  using b = right;
  using file = createMemfd('sent');
  assert.equal(
    send(
      a,
      Buffer.from('x'),
      Array.from({ length: MAX_FDS }, () => file),
    ),
    1,
  );
  const got = receive(b, Buffer.alloc(8))!;
  assert.equal(got.fds.length, MAX_FDS);
  got.fds.forEach((fd) => fd.close());
  assert.throws(
    () =>
      send(
        a,
        Buffer.from('x'),
        Array.from({ length: MAX_FDS + 1 }, () => file),
      ),
    TypeError,
  );
});

test('a listener takes connections, and the kernel says who connects', () => {
  const directory = mkdtempSync(join(tmpdir(), 'cfsmountd-socket-'));
  try {
    using listener = listenStream(join(directory, 's'), 4);
    assert.equal(acceptStream(listener), null);
    using client = connectStream(join(directory, 's'));
    using server = acceptStream(listener)!;
    const { pid, uid, gid } = peerCredentials(server);
    assert.deepEqual({ pid, uid, gid }, { pid: process.pid, uid: process.getuid!(), gid: process.getgid!() });
    assert.equal(send(client, Buffer.from('x')), 1);
    assert.ok(waitReady(server, 'readable', 1000));
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('a stream that was ended takes nothing more, and says whether something waits in it', () => {
  for (const waiting of [true, false]) {
    const [left, right] = socketPair();
    using a = left;
    using b = right;
    if (waiting) send(a, Buffer.from('x'));
    assert.equal(endStream(b), !waiting);
    assert.throws(() => send(a, Buffer.from('y')), { code: 'EPIPE' });
  }
});

test('a path longer than a socket address holds is refused', () => {
  assert.throws(() => connectStream(`/${'x'.repeat(107)}`), TypeError);
});

test('the event loop reports a descriptor until told to stop', async () => {
  const [left, right] = socketPair();
  using a = left;
  using b = right;
  let calls = 0;
  await new Promise<void>((resolve) => {
    const watcher = watch(b, ({ readable }) => {
      assert.ok(readable);
      receive(b, Buffer.alloc(8));
      if (++calls === 3) {
        watcher.stop();
        resolve();
      } else send(a, Buffer.from('x'));
    });
    send(a, Buffer.from('x'));
  });
  send(a, Buffer.from('x'));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(calls, 3);
});

test('a paused watch reports nothing, and what came meanwhile when it goes on', async () => {
  const [left, right] = socketPair();
  using a = left;
  using b = right;
  let calls = 0;
  const watcher = watch(b, () => {
    calls++;
    receive(b, Buffer.alloc(8));
  });
  watcher.wantReadable(false);
  send(a, Buffer.from('x'));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(calls, 0);
  watcher.wantReadable(true);
  await new Promise((resolve) => setTimeout(resolve, 20));
  watcher.stop();
  assert.equal(calls, 1);
});
