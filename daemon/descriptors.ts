// Checks of descriptors that came from a caller, by what the kernel says of them alone: none of these calls asks the file system
// behind the descriptor, which may be the caller's own and never answer.
import { SyscallError } from '../core/kernel/error.js';
import { statusFlags, type Fd, type FdList, type OwnedFd } from '../core/kernel/fd.js';
import { O_ACCMODE, O_PATH, O_WRONLY } from '../core/kernel/file.js';
import { statFd, type FileStatus } from '../core/kernel/stat.js';
import { RequestError } from '../core/wire/errors.js';

/** Takes the descriptor a message names by index; each can be named once. */
export function stealFd(fds: FdList, index: number, argument: string): OwnedFd {
  const fd = fds.steal(index);
  if (fd) return fd;
  throw new RequestError('BadRequest', `${argument}: the message has no descriptor with index ${index}, or names it twice`);
}

/** An O_PATH descriptor proves no right to read; the daemon would lend its own. A write-only one cannot be read. */
function requireReadable(fd: OwnedFd, argument: string): void {
  const flags = statusFlags(fd);
  if (flags & O_PATH) {
    throw new RequestError('BadRequest', `${argument} is an O_PATH descriptor`, { hint: 'open it with O_RDONLY' });
  }
  if ((flags & O_ACCMODE) === O_WRONLY) {
    throw new RequestError('BadRequest', `${argument} is open for writing only`, { hint: 'open it with O_RDONLY' });
  }
}

/** Status of a caller's descriptor; some file systems (another's FUSE) show it not even to root. */
export function statCallerFd(fd: Fd, argument: string): FileStatus {
  try {
    return statFd(fd);
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    throw new RequestError('BadRequest', `${argument} cannot be looked at`, {
      hint: 'put it on a local file system',
      cause: error,
    });
  }
}

export function requireRegularFile(fd: OwnedFd, argument: string): FileStatus {
  requireReadable(fd, argument);
  const status = statCallerFd(fd, argument);
  if (status.type !== 'file') throw new RequestError('BadRequest', `${argument} is a ${status.type}, not a regular file`);
  return status;
}

export function requireDirectory(fd: OwnedFd, argument: string): void {
  requireReadable(fd, argument);
  const { type } = statCallerFd(fd, argument);
  if (type !== 'directory') throw new RequestError('BadRequest', `${argument} is a ${type}, not a directory`);
}
