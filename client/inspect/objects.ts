// The objects that an image needs, and a store they may be in.
import type { ByteString } from '../../core/image/bytes.js';
import type { NeededObject } from '../../core/image/facts.js';
import { SyscallError, isErrno } from '../../core/kernel/error.js';
import { type Fd, OwnedFd } from '../../core/kernel/fd.js';
import { O_DIRECTORY, O_PATH, O_RDONLY, openBeneath, openPath, reopen } from '../../core/kernel/file.js';
import { statFd } from '../../core/kernel/stat.js';
import { RequestError } from '../../core/wire/errors.js';

export interface PlacedObject extends NeededObject {
  readonly path: ByteString;
}

/** Those with a path, each path once, in the order of their bytes: what `composefs-info objects` lists, in its order. */
export function objectsByPath(objects: readonly NeededObject[]): PlacedObject[] {
  const byPath = new Map<ByteString, PlacedObject>();
  for (const object of objects) {
    const { path } = object;
    if (path !== undefined && !byPath.has(path)) byPath.set(path, { ...object, path });
  }
  return [...byPath.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Opens an object store for looking things up in it. Throws `RequestError` BadRequest. */
export function openStore(path: string): OwnedFd {
  try {
    return openPath(path, O_PATH | O_DIRECTORY);
  } catch (cause) {
    if (!(cause instanceof SyscallError)) throw cause;
    throw new RequestError('BadRequest', `the object store ${path} cannot be opened (${cause.code})`, { cause });
  }
}

/** An object open for reading: undefined if there is nothing, false if what is there is not a regular file. Links are not followed, and nothing above the store is reached. */
export function openObject(store: Fd, path: ByteString): OwnedFd | undefined | false {
  try {
    // To open a FIFO could block, and to open a device could do something.
    using found = openBeneath(store, Buffer.from(path, 'latin1'), O_PATH);
    return statFd(found).type === 'file' ? reopen(found, O_RDONLY) : false;
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ENAMETOOLONG')) return undefined;
    if (isErrno(error, 'ELOOP', 'EXDEV')) return false;
    throw error;
  }
}
