import assert from 'node:assert/strict';
import { test } from 'node:test';

import { isErrno, SyscallError } from './error.js';
import { bind, cString } from './libc.js';

const dup = bind('dup', ['fd']);
const lseek = bind('lseek', ['fd', 'u64', 'int'], 'long');
const access = bind('access', ['path', 'int']);
const getrandom = bind('getrandom', ['buffer', 'u64', 'u32'], 'long');

// koffi would pass these on as something else: NaN as 0, so close(NaN) closes standard input.
for (const bad of [Number.NaN, -1, 1.5, 2 ** 31, '0', null, undefined, 1n]) {
  test(`refused as a descriptor: ${typeof bad} ${String(bad)}`, () => {
    assert.throws(() => dup(bad as number), TypeError);
  });
}

for (const bad of [-1n, 2n ** 64n, -1, 1.5]) {
  test(`refused as 64 unsigned bits: ${String(bad)}`, () => {
    assert.throws(() => lseek(0, bad, 0), /64 bits|integer|RangeError/);
  });
}

test('a string with a NUL is refused, not cut', () => {
  assert.throws(() => access('/\0etc', 0), /NUL/);
  assert.throws(() => cString('\0'), /NUL/);
  assert.deepEqual(cString('é'), Buffer.from([0xc3, 0xa9, 0]));
});

test('a buffer argument takes nothing else', () => {
  assert.throws(() => getrandom('x' as unknown as Uint8Array, 1, 0), TypeError);
});

test('the number of arguments is checked', () => {
  assert.throws(() => (access as (...values: unknown[]) => number)('/'), /takes 2 arguments/);
});

test('a failed call carries its own errno', () => {
  for (let i = 0; i < 1000; i++) {
    assert.throws(
      () => access('/nonexistent-file', 0),
      (error) => isErrno(error, 'ENOENT'),
    );
    assert.throws(
      () => dup(1_000_000),
      (error) => isErrno(error, 'EBADF'),
    );
  }
});

test('errnos with two names are known by both', () => {
  assert.ok(isErrno(new SyscallError('x', 95), 'EOPNOTSUPP'));
  assert.ok(isErrno(new SyscallError('x', 95), 'ENOTSUP'));
  assert.ok(isErrno(new SyscallError('x', 11), 'EAGAIN'));
  assert.ok(!isErrno(new SyscallError('x', 11), 'EPERM'));
  assert.equal(new SyscallError('x', 15).code, 'ENOTBLK');
  assert.equal(new SyscallError('x', 9999).code, 'errno 9999');
});
