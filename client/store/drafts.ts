// Files in the making: without a name where the file system can do that, else below a directory that a later run recognises as left behind.
import { randomBytes } from 'node:crypto';
import { readNames } from '../../core/kernel/directory.js';
import { renameAt, tryLock } from '../../core/kernel/durable.js';
import { isErrno } from '../../core/kernel/error.js';
import { type Fd, OwnedFd } from '../../core/kernel/fd.js';
import {
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_RDONLY,
  O_RDWR,
  linkUnnamed,
  makeDirectoryAt,
  openBeneath,
  openUnnamed,
  removeDirectoryAt,
  reopen,
  unlinkAt,
} from '../../core/kernel/file.js';
import { statFd } from '../../core/kernel/stat.js';

/** Nothing else is called that, so what has such a name may be removed. */
const NAME = /^\.cfsctl-[0-9a-f]{16}$/;
const PREFIX = '.cfsctl-';

/** True for the name of a directory that holds files in the making. */
export function isOfDrafts(name: string): boolean {
  return name.startsWith(PREFIX);
}

/** A file that nobody else can see. Disposing it closes it; what was not published is gone. */
export interface Draft extends Disposable {
  /** Readable and writable, mode 0600. */
  readonly file: OwnedFd;
  /** From here on `file` can only be read: fs-verity is for files that nobody has open for writing. */
  closeForWriting(): void;
  /** Gives it a name in a directory, in place of what may have that name. Its bytes are durable only if they were synced before. */
  publish(parent: Fd, name: string, replace: boolean): void;
}

export interface Drafts extends Disposable {
  make(): Draft;
}

/** Runs a step in the making of a draft, which is gone if that fails. */
export function orDiscard<T>(draft: Draft, step: () => T): T {
  try {
    return step();
  } catch (error) {
    draft[Symbol.dispose]();
    throw error;
  }
}

/** Drafts for files of `directory`. They need no cleaning up where the file system has O_TMPFILE. */
export function openDrafts(directory: Fd): Drafts {
  let unnamed = true;
  let own: OwnDirectory | undefined;
  const ownDirectory = (): OwnDirectory => (own ??= makeOwnDirectory(directory));
  return {
    make() {
      const file = unnamed ? openWithoutName(directory) : undefined;
      if (file !== undefined) return draftWithoutName(file, ownDirectory);
      unnamed = false;
      return draftWithName(ownDirectory());
    },
    [Symbol.dispose]: () => own?.remove(),
  };
}

/** A file without a name, readable and writable, mode 0600; undefined where the file system has no O_TMPFILE. */
export function openWithoutName(directory: Fd): OwnedFd | undefined {
  try {
    return openUnnamed(directory);
  } catch (error) {
    // So say NFS, FAT and most of FUSE.
    if (isErrno(error, 'EOPNOTSUPP', 'EISDIR', 'ENOSYS', 'EINVAL')) return undefined;
    throw error;
  }
}

function draftWithoutName(first: OwnedFd, ownDirectory: () => OwnDirectory): Draft {
  let file = first;
  return {
    get file() {
      return file;
    },
    closeForWriting: () => (file = openReadOnly(file)),
    publish(parent, name, replace) {
      if (!replace) return linkUnnamed(file, parent, name);
      const { fd, nextName } = ownDirectory();
      const interim = nextName();
      linkUnnamed(file, fd, interim);
      try {
        renameAt(fd, interim, parent, name);
      } catch (error) {
        unlinkAt(fd, interim);
        throw error;
      }
    },
    [Symbol.dispose]: () => file.close(),
  };
}

function draftWithName({ fd, nextName }: OwnDirectory): Draft {
  const interim = nextName();
  let file = openBeneath(fd, interim, O_RDWR | O_CREAT | O_EXCL, 0o600);
  let named = true;
  return {
    get file() {
      return file;
    },
    closeForWriting: () => (file = openReadOnly(file)),
    publish(parent, name) {
      renameAt(fd, interim, parent, name);
      named = false;
    },
    [Symbol.dispose]() {
      file.close();
      if (named) unlinkAt(fd, interim);
    },
  };
}

function openReadOnly(file: OwnedFd): OwnedFd {
  using _ = file;
  return reopen(file, O_RDONLY);
}

/** A directory of this run's own, for names that are not final. */
interface OwnDirectory {
  readonly fd: OwnedFd;
  nextName(): string;
  remove(): void;
}

/** Its lock says that it is in use. Those whose lock is free were left behind by runs that were killed: they go first. */
function makeOwnDirectory(directory: Fd): OwnDirectory {
  removeAbandonedDrafts(directory);
  for (;;) {
    const name = PREFIX + randomBytes(8).toString('hex');
    makeDirectoryAt(directory, name, 0o700);
    const fd = openIfThere(directory, name);
    // Between making and locking it another run may have taken it for left behind.
    if (fd === undefined || !tryLock(fd) || statFd(fd).nlink === 0) {
      fd?.close();
      continue;
    }
    let count = 0;
    const remove = (): void => {
      removeDirectoryAt(directory, name);
      fd.close();
    };
    return { fd, nextName: () => String(count++), remove };
  }
}

/** Removes what runs that were killed left in a directory of finished files. Those still going on are left alone. */
export function removeAbandonedDrafts(directory: Fd): void {
  using listing = openBeneath(directory, '.', O_RDONLY | O_DIRECTORY);
  for (const name of readNames(listing).filter((each) => NAME.test(each))) {
    using abandoned = openIfThere(directory, name);
    if (abandoned === undefined || !tryLock(abandoned) || statFd(abandoned).nlink === 0) continue;
    removeIfOurs(directory, name, abandoned);
  }
}

/** Drafts are files. What is not was put there by somebody else, and is in nobody's way. */
function removeIfOurs(directory: Fd, name: string, abandoned: Fd): void {
  try {
    for (const file of readNames(abandoned)) unlinkAt(abandoned, file);
    removeDirectoryAt(directory, name);
  } catch (error) {
    if (!isErrno(error, 'EISDIR', 'ENOTEMPTY')) throw error;
  }
}

function openIfThere(directory: Fd, name: string): OwnedFd | undefined {
  try {
    return openBeneath(directory, name, O_RDONLY | O_DIRECTORY);
  } catch (error) {
    // Gone meanwhile, nothing of ours, or somebody else's.
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES')) return undefined;
    throw error;
  }
}
