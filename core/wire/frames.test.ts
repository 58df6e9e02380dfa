import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeMethodCall } from './codec.js';
import { createFrameSplitter } from './frames.js';
import { ProtocolError } from './protocol-error.js';

const call = (serial: number, body = ''): Buffer =>
  encodeMethodCall({ serial, path: '/a', interface: 'a.b', member: 'M', signature: 's', body: [body] });

test('messages come out whole however the stream is cut', () => {
  const messages = [call(1), call(2, 'x'.repeat(5000)), call(3), call(4, 'y'.repeat(17))];
  const stream = Buffer.concat(messages);
  fc.assert(
    fc.property(fc.array(fc.nat(stream.length)), (cuts) => {
      const splitter = createFrameSplitter(10_000);
      const edges = [0, ...cuts.toSorted((a, b) => a - b), stream.length];
      const got = edges.flatMap((edge, at) => splitter.push(stream.subarray(edge, edges[at + 1] ?? stream.length)));
      assert.deepEqual(got, messages);
      assert.equal(splitter.pendingBytes, 0);
    }),
    { numRuns: 50 },
  );
});

test('a message owns its memory: the chunk may be used again', () => {
  const chunk = call(1);
  const [message] = createFrameSplitter(1000).push(chunk);
  const copy = Buffer.from(chunk);
  chunk.fill(0xff);
  assert.deepEqual(message, copy);
});

test('a declared size is taken at the limit, refused above it, from 16 bytes', () => {
  const message = call(1, 'z'.repeat(100));
  assert.equal(createFrameSplitter(message.length).push(message).length, 1);
  const splitter = createFrameSplitter(message.length - 1);
  assert.deepEqual(splitter.push(message.subarray(0, 15)), []);
  assert.equal(splitter.pendingBytes, 15);
  assert.throws(() => splitter.push(message.subarray(15, 16)), ProtocolError);
});

test('sizes of 4 GiB are refused, in both byte orders and both places', () => {
  for (const order of ['l', 'B']) {
    for (const at of [4, 12]) {
      const start = Buffer.alloc(16);
      start.write(order);
      start[3] = 1;
      start.fill(0xff, at, at + 4);
      assert.throws(() => createFrameSplitter(0x8000_0000).push(start), ProtocolError);
    }
  }
});

test('a message that comes byte by byte costs linear time and no more than its bytes', () => {
  const message = call(1, 'z'.repeat(500_000));
  const splitter = createFrameSplitter(1_000_000);
  const start = performance.now();
  let got: Buffer[] = [];
  for (let at = 0; at < message.length; at++) got = splitter.push(message.subarray(at, at + 1));
  assert.deepEqual(got, [message]);
  assert.ok(performance.now() - start < 2000);
});
