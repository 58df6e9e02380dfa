import assert from 'node:assert/strict';
import { test } from 'node:test';

import { duplicateNumber, FdList, isOpenNumber, OwnedFd, sameOpenFile, statusFlags } from './fd.js';
import { createMemfd, O_ACCMODE, O_PATH, O_RDONLY, O_RDWR, openPath } from './file.js';

test('an owned descriptor is closed at the end of its block, once', () => {
  let number: number;
  {
    using fd = openPath('/', O_RDONLY);
    number = fd.raw;
    assert.ok(isOpenNumber(number));
  }
  assert.ok(!isOpenNumber(number));
});

test('a closed or released descriptor cannot be used, and closing it again does nothing to the number', () => {
  const fd = openPath('/', O_RDONLY);
  const number = fd.release();
  assert.throws(() => fd.raw, /after it was closed/);
  fd.close();
  assert.ok(isOpenNumber(number));
  OwnedFd.adopt(number).close();
  assert.ok(!isOpenNumber(number));
});

for (const number of [-1, 1.5, Number.NaN, '3', undefined]) {
  test(`not a descriptor: ${String(number)}`, () => {
    assert.throws(() => OwnedFd.adopt(number as number), TypeError);
  });
}

test('a duplicate is the same open file, close-on-exec, and lives on its own', () => {
  using first = createMemfd('test');
  using second = first.duplicate();
  assert.notEqual(first.raw, second.raw);
  assert.ok(sameOpenFile(first, second));
  using other = createMemfd('test');
  assert.ok(!sameOpenFile(first, other));
  using third = duplicateNumber(first.raw);
  assert.ok(sameOpenFile(first, third));
});

test('status flags tell the access mode and O_PATH', () => {
  using memory = createMemfd('test');
  assert.equal(statusFlags(memory) & O_ACCMODE, O_RDWR);
  using path = openPath('/', O_PATH);
  assert.equal(statusFlags(path) & O_PATH, O_PATH);
});

test('a list gives each descriptor out once and closes the others', () => {
  const fds = [createMemfd('a'), createMemfd('b'), createMemfd('c')];
  const numbers = fds.map((fd) => fd.raw);
  let stolen: OwnedFd | undefined;
  {
    using list = new FdList(fds);
    stolen = list.steal(1);
    assert.equal(stolen?.raw, numbers[1]);
    assert.equal(list.steal(1), undefined);
  }
  assert.deepEqual(numbers.map(isOpenNumber), [false, true, false]);
  stolen?.close();
});

for (const index of [-1, 1, 2 ** 31, 2 ** 32 - 1, 0.5, Number.NaN]) {
  test(`a list of one has nothing at index ${index}`, () => {
    using list = new FdList([createMemfd('a')]);
    assert.equal(list.steal(index), undefined);
  });
}
