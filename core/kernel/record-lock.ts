// Locks of a file that belong to an open descriptor and go against those that other programs take with fcntl(2).
import type { Fd } from './fd.js';
import { bindSyscall } from './libc.js';

const fcntlStruct = bindSyscall('fcntl', process.arch === 'arm64' ? 25 : 72, ['fd', 'int', 'buffer'], { expected: [11, 13] });

// asm-generic/fcntl.h
const F_OFD_SETLK = 37;
const F_WRLCK = 1;

/** Takes the write lock of a whole file, without waiting, until its last descriptor is closed; false if somebody else has a lock on it. The file must be open for writing. */
export function tryRecordLock(file: Fd): boolean {
  const flock = Buffer.alloc(32); // struct flock; start and length 0: all of it
  flock.writeInt16LE(F_WRLCK, 0);
  return fcntlStruct(file.raw, F_OFD_SETLK, flock) === 0;
}
