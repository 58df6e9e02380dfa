import assert from 'node:assert/strict';
import { test } from 'node:test';
import { REQUEST_LIMITS } from './guard.js';
import { CALL, build, check, refused, withField } from './raw-message.test.js';
import type { Field, Raw } from './raw-message.test.js';

test('guard returns every header field', () => {
  const fields: Field[] = [
    [1, 'o', '/a/b'],
    [2, 's', 'a.b'],
    [3, 's', 'M'],
    [6, 's', 'c.d'],
    [7, 's', ':1.5'],
    [9, 'u', 2],
  ];
  for (const order of ['l', 'B'] as const) {
    assert.deepEqual(check({ order, fields, flags: 1, serial: 7, signature: 'hs', body: [1, 'x'] }, 2), {
      type: 1,
      flags: 1,
      noReplyExpected: true,
      serial: 7,
      path: '/a/b',
      interface: 'a.b',
      member: 'M',
      errorName: '',
      replySerial: 0,
      destination: 'c.d',
      sender: ':1.5',
      signature: 'hs',
      unixFds: 2,
    });
  }
});

test('each type of message passes with what it requires, and no less', () => {
  const all: Record<string, Field> = {
    path: [1, 'o', '/'],
    interface: [2, 's', 'a.b'],
    member: [3, 's', 'M'],
    errorName: [4, 's', 'a.b'],
    replySerial: [5, 'u', 1],
  };
  const required: [number, string[]][] = [
    [1, ['path', 'member']],
    [2, ['replySerial']],
    [3, ['errorName', 'replySerial']],
    [4, ['path', 'interface', 'member']],
  ];
  for (const [type, names] of required) {
    const fields = names.map((name) => all[name] as Field);
    assert.equal(check({ type, fields }).type, type);
    for (const [at, name] of names.entries())
      refused({ type, fields: fields.toSpliced(at, 1) }, new RegExp(`header without ${name}`));
  }
});

const BAD_HEADERS: [string, Raw, RegExp][] = [
  ['type 0', { type: 0 }, /type 0/],
  ['type 5', { type: 5 }, /unknown message type/],
  ['version 2', { version: 2 }, /version/],
  ['serial 0', { serial: 0 }, /serial 0/],
  ['body length above the message', { bodyLength: 1 }, /size/],
  ['body without signature', { body: Buffer.alloc(4) }, /body longer/],
  ['field of code 0', withField(0, 's', 'x'), /code 0/],
  ['field twice', withField(3, 's', 'M'), /appears twice/],
  [
    'path as string',
    {
      fields: [
        [1, 's', '/a'],
        [3, 's', 'M'],
      ],
    },
    /wrong type/,
  ],
  ['UNIX_FDS as int32', withField(9, 'i', 0), /wrong type/],
  [
    'path without slash',
    {
      fields: [
        [1, 'o', 'a'],
        [3, 's', 'M'],
      ],
    },
    /malformed PATH/,
  ],
  [
    'path with empty part',
    {
      fields: [
        [1, 'o', '/a//b'],
        [3, 's', 'M'],
      ],
    },
    /malformed PATH/,
  ],
  [
    'path with slash at the end',
    {
      fields: [
        [1, 'o', '/a/'],
        [3, 's', 'M'],
      ],
    },
    /malformed PATH/,
  ],
  [
    'member with a dot',
    {
      fields: [
        [1, 'o', '/a'],
        [3, 's', 'M.M'],
      ],
    },
    /malformed MEMBER/,
  ],
  ['interface of one part', withField(2, 's', 'a'), /malformed INTERFACE/],
  ['interface part with a digit first', withField(2, 's', 'a.1'), /malformed INTERFACE/],
  ['interface of 256', withField(2, 's', `a.${'b'.repeat(254)}`), /malformed INTERFACE/],
  ['empty destination', withField(6, 's', ''), /malformed DESTINATION/],
  ['sender with a newline', withField(7, 's', ':1.1\n'), /malformed SENDER/],
  ['reply to 0', withField(5, 'u', 0), /reply to serial 0/],
  ['one fd more than came', withField(9, 'u', 3), /claims 3 fds, 2 came/],
  ['unknown field of a bad type', withField(10, 'b', 2), /boolean/],
  ['bad signature', { signature: '', fields: [...CALL, [8, 'g', 'a']] }, /ends inside/],
];
for (const [name, raw, message] of BAD_HEADERS) test(`header refused: ${name}`, () => void refused(raw, message, 2));

test('header passes: names of 255, unknown flags, an unknown field, a long path', () => {
  assert.equal(check(withField(2, 's', `a.${'b'.repeat(253)}`)).interface.length, 255);
  assert.equal(check({ flags: 0xff }).flags, 0xff);
  check(withField(10, '(sv)', ['x', ['u', 1]]));
  assert.equal(
    check({
      fields: [
        [1, 'o', `/${'a'.repeat(1000)}`],
        [3, 's', 'M'],
      ],
    }).path.length,
    1001,
  );
});

test('at most 253 fds, however many came', () => {
  assert.equal(check(withField(9, 'u', 253), 1000).unixFds, 253);
  refused(withField(9, 'u', 254), /claims 254 fds/, 1000);
});

test('an fd that did not come leaves no header: the stream is out of step', () => {
  assert.equal(refused(withField(9, 'u', 1), /0 came/).header, undefined);
});

test('limits hold at N and refuse N+1: bytes, values', () => {
  const limits = { ...REQUEST_LIMITS, maxBytes: 200, maxValues: 10 };
  const sized = (bytes: number): Buffer => build({ signature: 'ay', body: [Array(bytes).fill(1)] });
  const overhead = sized(0).length;
  check(sized(200 - overhead), 0, limits);
  refused(sized(201 - overhead), /at most 200/, 0, limits);
  for (const signature of ['au', 'ab', 'ad']) {
    check({ signature, body: [Array(9).fill(1)] }, 0, limits);
    refused({ signature, body: [Array(10).fill(1)] }, /more values/, 0, limits);
  }
});

test('every message cut short or followed by a byte is refused', () => {
  const message = build({ signature: 'a{sv}', body: [[['nosuid', ['b', 1]]]] });
  for (let size = 0; size < message.length; size++) refused(message.subarray(0, size), /./);
  refused(Buffer.concat([message, Buffer.alloc(1)]), /size/);
});

test('padding between header and body must be zero', () => {
  const message = build();
  const last = message.length - 1;
  assert.equal(message[last], 0);
  message[last] = 1;
  refused(message, /padding/);
});
