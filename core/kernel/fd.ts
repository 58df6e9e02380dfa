// Ownership of file descriptors. A raw number is only ever seen inside core/kernel, and at the edges that hand one over.
import { bind, bindSyscall, closeNumber } from './libc.js';

const fcntlArg = bind('fcntl', ['fd', 'int', 'int']);
const kcmp = bindSyscall('kcmp', process.arch === 'arm64' ? 272 : 312, ['int', 'int', 'int', 'u64', 'u64']);

// linux/fcntl.h
const F_GETFL = 3;
const F_DUPFD_CLOEXEC = 1030;
const F_GETFD = 1;

/** A descriptor to use in a call, not to keep or close: an OwnedFd, or a number somebody else keeps open. */
export interface Fd {
  readonly raw: number;
}

/** How a descriptor is closed that must not be closed here and now. */
export type Closer = (fd: number) => void;

/** One file descriptor and the duty to close it. `using fd = …` closes it at the end of the block. */
export class OwnedFd implements Fd {
  #fd: number;
  #closer: Closer;

  private constructor(fd: number, closer: Closer) {
    this.#fd = fd;
    this.#closer = closer;
  }

  /** Takes ownership of a number that a system call just returned. */
  static adopt(fd: number, closer: Closer = closeNumber): OwnedFd {
    if (!Number.isInteger(fd) || fd < 0) throw new TypeError(`${fd} is not a file descriptor`);
    return new OwnedFd(fd, closer);
  }

  /** The number, for a system call. Throws once the descriptor is closed or released. */
  get raw(): number {
    if (this.#fd < 0) throw new TypeError('file descriptor used after it was closed');
    return this.#fd;
  }

  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  /** A second descriptor of the same open file, close-on-exec. */
  duplicate(): OwnedFd {
    return OwnedFd.adopt(fcntlArg(this.raw, F_DUPFD_CLOEXEC, 3), this.#closer);
  }

  /** Says that closing it cannot hang, because of what it has been found to be. */
  closeHere(): void {
    this.#closer = closeNumber;
  }

  /** Says that closing it may hang, and who does it. */
  closeBy(closer: Closer): void {
    this.#closer = closer;
  }

  /** Gives the duty to close to the receiver of the number. */
  release(): number {
    const fd = this.raw;
    this.#fd = -1;
    return fd;
  }

  close(): void {
    if (this.#fd < 0) return;
    this.#closer(this.release());
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A close-on-exec duplicate of a descriptor number that somebody else owns. */
export function duplicateNumber(fd: number): OwnedFd {
  return OwnedFd.adopt(fcntlArg(fd, F_DUPFD_CLOEXEC, 3));
}

/** File status flags (O_ACCMODE, O_PATH, …) of an open descriptor, by fcntl(2) F_GETFL. */
export function statusFlags(fd: Fd): number {
  return fcntlArg(fd.raw, F_GETFL, 0);
}

/** True if the number is an open descriptor of this process. */
export function isOpenNumber(fd: number): boolean {
  try {
    fcntlArg(fd, F_GETFD, 0);
    return true;
  } catch {
    return false;
  }
}

/** True if both descriptors refer to one open file description, by kcmp(2) KCMP_FILE. */
export function sameOpenFile(a: Fd, b: Fd): boolean {
  return kcmp(process.pid, process.pid, 0, a.raw, b.raw) === 0;
}

/** The descriptors that came with one message. `steal` takes one out; disposing the list closes those nobody took. */
export class FdList {
  readonly #fds: (OwnedFd | undefined)[];

  constructor(fds: readonly OwnedFd[] = []) {
    this.#fds = [...fds];
  }

  get length(): number {
    return this.#fds.length;
  }

  /** Takes out the descriptor at an index that came from the message; undefined if there is none, or it was taken. */
  steal(index: number): OwnedFd | undefined {
    const fd = Number.isInteger(index) ? this.#fds[index] : undefined;
    if (fd) this.#fds[index] = undefined;
    return fd;
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds) fd?.close();
    this.#fds.fill(undefined);
  }
}
