import assert from 'node:assert/strict';
import { test } from 'node:test';
import { REPLY_LIMITS, REQUEST_LIMITS } from './guard.js';
import { ProtocolError } from './protocol-error.js';
import { CALL, check, refused } from './raw-message.test.js';
import { parseSignature } from './signature.js';

// Signatures and bodies, as the guard sees them.

const nested = (open: string, inner: string, depth: number, close = ''): string =>
  open.repeat(depth) + inner + close.repeat(depth);
const u32 = (...values: number[]): Buffer => Buffer.from(new Uint32Array(values).buffer);

const BAD_SIGNATURES: [string, RegExp][] = [
  ['a()', /empty struct/],
  ['()', /empty struct/],
  ['a{}', /dict key/],
  ['a{s}', /unknown or misplaced/],
  ['a{vs}', /dict key/],
  ['a{(s)s}', /dict key/],
  ['a{sss}', /one key and one value/],
  ['{ss}', /unknown or misplaced/],
  ['a', /ends inside/],
  ['(s', /ends inside/],
  [')', /unknown or misplaced/],
  ['r', /unknown or misplaced/],
  ['m', /unknown or misplaced/],
  ['\xff', /unknown or misplaced|UTF-8/],
  [nested('a', 'y', 33), /32 arrays/],
  [nested('(', 'y', 33, ')'), /32 structs/],
];
for (const [signature, message] of BAD_SIGNATURES) {
  test(`signature refused: ${JSON.stringify(signature)}, of the body and in a variant`, () => {
    const bytes = Buffer.from(signature, 'latin1');
    const inside = Buffer.concat([Buffer.from([bytes.length]), bytes, Buffer.alloc(1)]);
    refused({ fields: [...CALL, [8, 'g', signature]] }, message, 0, REPLY_LIMITS);
    refused({ signature: 'v', body: inside }, message, 0, REPLY_LIMITS);
    refused({ signature: 'g', body: inside }, message, 0, REPLY_LIMITS);
  });
}

test('signature length: 64 bytes pass in a request, 255 anywhere, and not one more', () => {
  for (const [size, limits] of [
    [64, REQUEST_LIMITS],
    [255, REPLY_LIMITS],
  ] as const) {
    const signature = 'y'.repeat(size);
    check({ signature, body: Buffer.alloc(size) }, 0, limits);
    check({ signature: 'g', body: [signature] }, 0, limits);
    if (size === 255) continue;
    refused({ signature: `${signature}y`, body: Buffer.alloc(size + 1) }, /longer than 64/);
    refused({ signature: 'g', body: [`${signature}y`] }, /longer than 64/);
  }
  assert.throws(() => parseSignature('y'.repeat(256)), ProtocolError);
});

test('signature depth: 32 arrays and 32 structs pass, and so do 64 values deep with variants, not 65', () => {
  check({ signature: nested('a', 'y', 32), body: [[]] });
  // 65 bytes: more than a request may have.
  const value = Array.from({ length: 32 }).reduce<unknown>((inner) => [inner], 5);
  check({ signature: nested('(', 'y', 32, ')'), body: [value] }, 0, REPLY_LIMITS);
  const variants = (depth: number): unknown => (depth === 1 ? ['u', 1] : ['v', variants(depth - 1)]);
  check({ signature: 'v', body: [variants(64)] });
  refused({ signature: 'v', body: [variants(65)] }, /64 deep/);
});

const BAD_BODIES: [string, string, Buffer, RegExp][] = [
  ['boolean 2', 'b', u32(2), /boolean/],
  ['boolean 2 in an array', 'ab', u32(8, 1, 2), /boolean/],
  ['string without NUL', 's', Buffer.from([1, 0, 0, 0, 65, 65]), /end in NUL/],
  ['string with NUL', 's', Buffer.from([2, 0, 0, 0, 65, 0, 0]), /holds NUL/],
  ['string not UTF-8', 's', Buffer.from([2, 0, 0, 0, 0xc0, 0x80, 0]), /UTF-8/],
  ['surrogate in a string', 's', Buffer.from([3, 0, 0, 0, 0xed, 0xa0, 0x80, 0]), /UTF-8/],
  ['string past the end', 's', Buffer.from([2, 0, 0, 0, 65, 0]), /past the end/],
  ['string of 4 GiB', 's', u32(0xffff_ffff), /past the end/],
  ['object path', 'o', Buffer.from([1, 0, 0, 0, 65, 0]), /object path/],
  ['padding', 'yu', Buffer.from([1, 0, 1, 0, 1, 0, 0, 0]), /padding/],
  ['padding before a struct', '(y)(y)', Buffer.from([1, 0, 0, 0, 0, 0, 0, 1, 1]), /padding/],
  ['padding of an empty array', 'at', u32(0, 1), /padding/],
  ['no padding of an empty array', 'at', u32(0), /past the end/],
  ['bytes behind the body', 'u', u32(1, 2), /body longer/],
  ['no body', 'u', Buffer.alloc(0), /past the end/],
  ['array past the end', 'ay', u32(5, 0), /past the end/],
  ['array above 64 MiB', 'ay', u32(64 * 1024 * 1024 + 1), /64 MiB/],
  ['array ending inside a number', 'au', u32(6, 0, 0), /inside an element/],
  ['array ending inside a string', 'as', Buffer.concat([u32(5, 2), Buffer.from('ab\0')]), /inside an element/],
  ['array ending inside a boolean', 'ab', u32(6, 0, 0), /inside an element/],
  ['variant of two types', 'v', Buffer.from([2, 0x79, 0x79, 0, 0, 0]), /one complete type/],
  ['variant of no type', 'v', Buffer.from([0, 0]), /one complete type/],
  ['fd index 2 of 2', 'h', u32(2), /descriptor index/],
  ['fd index 2^31 of 2', 'h', u32(0x8000_0000), /descriptor index/],
  ['fd index 2^32-1 of 2, in an array', 'ah', u32(4, 0xffff_ffff), /descriptor index/],
];
for (const [name, signature, body, message] of BAD_BODIES) {
  test(`body refused, the header known: ${name}`, () => {
    const error = refused({ fields: [...CALL, [9, 'u', 2]], signature, body }, message, 2);
    assert.equal(error.header?.unixFds, 2);
  });
}
