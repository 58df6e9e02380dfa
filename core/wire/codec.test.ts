import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeMessage, encodeError, encodeMethodCall, encodeMethodReturn, encodeSignal } from './codec.js';
import { REQUEST_LIMITS, checkMessage } from './guard.js';
import { ERROR, METHOD_CALL, METHOD_RETURN, SIGNAL } from './header.js';
import { ProtocolError } from './protocol-error.js';
import { variant } from './variants.js';

function decode(message: Buffer, fds = 0) {
  return decodeMessage(message, checkMessage(message, REQUEST_LIMITS, fds));
}

test('a call with fds and options comes back as it went', () => {
  const options = [['nosuid', variant('b', true)]];
  const { header, body } = decode(
    encodeMethodCall({
      serial: 9,
      path: '/a',
      interface: 'a.b',
      member: 'M',
      destination: 'c.d',
      signature: 'haha{sv}',
      body: [2, [0, 1], options],
      fds: 3,
    }),
    3,
  );
  assert.deepEqual(body, [2, [0, 1], options]);
  assert.equal(header.type, METHOD_CALL);
  assert.equal(header.unixFds, 3);
  assert.equal(header.destination, 'c.d');
  assert.equal(header.noReplyExpected, false);
});

test('a return, an error and a signal pass the guard; an empty destination is left out', () => {
  const back = decode(encodeMethodReturn({ serial: 1, replySerial: 7, destination: '', signature: 't', body: [1n << 63n] }));
  assert.equal(back.header.type, METHOD_RETURN);
  assert.equal(back.header.replySerial, 7);
  assert.equal(back.header.destination, '');
  assert.deepEqual(back.body, [1n << 63n]);
  const error = decode(encodeError({ serial: 1, replySerial: 7, errorName: 'a.b', text: 'why\nwhat next' }));
  assert.equal(error.header.type, ERROR);
  assert.equal(error.header.errorName, 'a.b');
  assert.deepEqual(error.body, ['why\nwhat next']);
  assert.equal(decode(encodeSignal({ serial: 1, path: '/', interface: 'a.b', member: 'S' })).header.type, SIGNAL);
});

test('a body dbus-native cannot read is the error of the peer, one it cannot write is ours', () => {
  const good = encodeMethodReturn({ serial: 1, replySerial: 7, signature: 's', body: ['text'] });
  const header = checkMessage(good, REQUEST_LIMITS, 0);
  assert.throws(() => decodeMessage(good.subarray(0, good.length - 2), header), ProtocolError);
  assert.throws(
    () => encodeMethodReturn({ serial: 1, replySerial: 7, signature: 'u', body: [-1] }),
    (error) => !(error instanceof ProtocolError),
  );
});
