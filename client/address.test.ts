import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RequestError } from '../core/wire/errors.js';
import { formatAddress, parseAddress } from './address.js';

const parsed: [text: string, bus: boolean, ...sockets: string[]][] = [
  ['unix:path=/run/x', false, '/run/x'],
  ['unix:path=/run/a%20b%2cc', false, '/run/a b,c'],
  ['unix:path=/run/x,guid=00', false, '/run/x'],
  ['unix:abstract=/tmp/x', false, '\0/tmp/x'],
  ['bus:unix:path=/run/x', true, '/run/x'],
  ['bus:unix:path=/a;unix:path=/b', true, '/a', '/b'],
  ['system', true, '/run/dbus/system_bus_socket'],
];
for (const [text, bus, ...sockets] of parsed) {
  test(`address taken: ${text}`, () => {
    assert.deepEqual(
      parseAddress(text, {}),
      sockets.map((socket) => ({ bus, socket })),
    );
  });
}

const refused = [
  '',
  'bus:',
  'unix:',
  'unix:path',
  'unix:path=',
  'unix:path=/a,path=/b',
  'unix:path=/a,abstract=b',
  'unix:path=/a,tmpdir=/',
];
for (const text of [
  ...refused,
  'unix:tmpdir=/tmp',
  'unix:guid=00',
  'tcp:host=x',
  'unix:path=%zz',
  'unix:path=/a%00b',
  'unix:path=%ff',
  'unix:path=/a;',
]) {
  test(`address refused: ${JSON.stringify(text)}`, () => {
    assert.throws(() => parseAddress(text, {}), { name: 'RequestError', code: 'BadRequest' });
  });
}

test('system bus at the address the environment gives', () => {
  const environment = { DBUS_SYSTEM_BUS_ADDRESS: 'unix:path=/run/other,guid=12' };
  assert.deepEqual(parseAddress('system', environment), [{ bus: true, socket: '/run/other' }]);
});

test('without an address: the own socket first, then the system bus', () => {
  assert.deepEqual(parseAddress(undefined, {}), [
    { bus: false, socket: '/run/cfsmountd/socket' },
    { bus: true, socket: '/run/dbus/system_bus_socket' },
  ]);
});

test('a formatted address is read back as it was', () => {
  const socket = fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => !text.includes('\0'));
  fc.assert(
    fc.property(socket, fc.boolean(), fc.boolean(), (name, bus, abstract) => {
      const address = { bus, socket: abstract ? `\0${name}` : name };
      assert.deepEqual(parseAddress(formatAddress(address), {}), [address]);
    }),
  );
});

test('any text is an address or a RequestError', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        assert.ok(parseAddress(`unix:${text}`, {}).length > 0);
      } catch (error) {
        assert.ok(error instanceof RequestError);
      }
    }),
  );
});
