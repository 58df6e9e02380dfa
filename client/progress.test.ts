import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatBytes } from './output.js';
import { formatProgress } from './progress.js';

const bars: [done: number, total: number, text: string][] = [
  [0, 100, 'work [........................]   0%  0 bytes of 100 bytes'],
  [512, 1024, 'work [############............]  50%  512 bytes of 1.0 KiB'],
  [1024, 1024, 'work [########################] 100%  1.0 KiB of 1.0 KiB'],
  [2048, 1024, 'work [########################] 100%  2.0 KiB of 1.0 KiB'],
  [0, 0, 'work [########################] 100%  0 bytes of 0 bytes'],
];
for (const [done, total, text] of bars)
  test(`${done} of ${total} bytes done`, () => assert.equal(formatProgress('work', done, total), text));

const sizes: [bytes: number | bigint, text: string][] = [
  [0, '0 bytes'],
  [1, '1 byte'],
  [1023, '1023 bytes'],
  [1024, '1.0 KiB'],
  [2n ** 53n, '8.0 PiB'],
  [2n ** 64n, '16384.0 PiB'],
];
for (const [bytes, text] of sizes) test(`${bytes} bytes are shown as ${text}`, () => assert.equal(formatBytes(bytes), text));
