import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createCrc64 } from './crc64.js';

function crcOf(...pieces: Uint8Array[]): string {
  const crc = createCrc64();
  for (const piece of pieces) crc.update(piece);
  return crc.digest().toString('hex');
}

/** Bit by bit, as the definition has it. */
function slowly(bytes: Uint8Array): string {
  let crc = 0xffff_ffff_ffff_ffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1n ? (crc >> 1n) ^ 0xd800_0000_0000_0000n : crc >> 1n;
  }
  return (crc ^ 0xffff_ffff_ffff_ffffn).toString(16).padStart(16, '0');
}

// From the tests of Go's hash/crc64, which is what reads them.
for (const [text, sum] of [
  ['', '0000000000000000'],
  ['a', '3420000000000000'],
  ['ab', '36c4200000000000'],
] as const)
  test(`crc64 of ${JSON.stringify(text)}`, () => assert.equal(crcOf(Buffer.from(text)), sum));

test('crc64 is what its definition says, for any length and in any pieces', () => {
  const bytes = Uint8Array.from({ length: 4099 }, (_, index) => (index * 7919 + (index >> 3)) & 0xff);
  for (const length of [0, 1, 7, 8, 9, 15, 16, 17, 255, 4096, 4099]) {
    const part = bytes.subarray(0, length);
    assert.equal(crcOf(part), slowly(part), `${length} bytes`);
    assert.equal(crcOf(part.subarray(0, 5), part.subarray(5)), slowly(part), `${length} bytes in two pieces`);
  }
});
