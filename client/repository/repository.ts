// A repository in the composefs layout: objects/xx/…, images/<digest>, images/refs/<name>, meta.json.
import { existsSync, mkdirSync } from 'node:fs';
import type { VerityAlgorithm } from '../../core/image/digest.js';
import { FormatError } from '../../core/image/format-error.js';
import { readNames } from '../../core/kernel/directory.js';
import { changeMode, fsync, tryLock } from '../../core/kernel/durable.js';
import { SyscallError, isErrno } from '../../core/kernel/error.js';
import type { Fd, OwnedFd } from '../../core/kernel/fd.js';
import {
  O_DIRECTORY,
  O_NONBLOCK,
  O_RDONLY,
  makeDirectoryAt,
  openBeneath,
  openPath,
  readAt,
  writeAllAt,
} from '../../core/kernel/file.js';
import { statFd } from '../../core/kernel/stat.js';
import { RequestError } from '../../core/wire/errors.js';
import { pause } from '../deadline.js';
import { openDrafts } from '../store/drafts.js';
import { DEFAULT_REPOSITORY } from './defaults.js';
import { NEW_META, type RepositoryMeta, parseMeta } from './meta.js';

/** Held until it is disposed of, and with it the repository's lock. */
export interface Repository extends Disposable {
  /** As given on the command line. */
  readonly path: string;
  readonly root: OwnedFd;
  readonly algorithm: VerityAlgorithm;
}

export interface OpenOptions {
  readonly path: string;
  /** `exclusive` for what takes objects away, `shared` for all else: nothing is taken away while somebody adds or looks. */
  readonly lock: 'shared' | 'exclusive';
  /** How long to wait for the lock. */
  readonly timeoutMs: number;
  /** What is going to be done: `create` makes the repository if there is none. */
  readonly purpose: 'read' | 'write' | 'create';
}

/** Opens and locks a repository. Throws `RequestError`: BadRequest if it is none, Timeout if others do not let go of it. */
export function openRepository({ path, lock, timeoutMs, purpose }: OpenOptions): Repository {
  return atRepository(path, () => {
    const isNew = purpose === 'create' && !existsSync(path);
    if (isNew) mkdirSync(path, { recursive: true, mode: 0o755 });
    const root = openPath(path, O_RDONLY | O_DIRECTORY);
    try {
      if (purpose !== 'read') requireOwn(root, path);
      waitForLock(root, path, lock, timeoutMs);
      if (purpose === 'create') completeLayout(root, path, isNew);
      const { algorithm, readOnly } = requireLayout(root, path);
      if (readOnly !== undefined && purpose !== 'read') throw new RequestError('NotSupported', `${path}: ${readOnly}`);
      return { path, root, algorithm, [Symbol.dispose]: () => root.close() };
    } catch (error) {
      root.close();
      throw error;
    }
  });
}

/** Puts the repository's path into the error of a system call or of a format. */
export function atRepository<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof FormatError) throw new RequestError('BadRequest', `${path}: ${cause.message}`, { cause });
    const { code, syscall } = cause as NodeJS.ErrnoException;
    if (cause instanceof RequestError || typeof code !== 'string' || typeof syscall !== 'string') throw cause;
    throw new RequestError('Failed', `the repository ${path}: ${syscall}: ${code}`, { hint: HINTS[code], cause });
  }
}

const HINTS: Readonly<Record<string, string>> = {
  ENOENT: 'cfsctl import makes a repository; --repo names another',
  EACCES: 'run it as the owner of the repository, or name one of your own with --repo',
  EPERM: 'run it as the owner of the repository, or name one of your own with --repo',
  EROFS: 'the file system is read-only',
  ENOSPC: 'make room; cfsctl gc removes what no name and no mount needs',
};

/** What root writes is believed by the service, and goes where links lead: not where another user can change things meanwhile. */
function requireOwn(root: Fd, path: string): void {
  if (process.geteuid?.() !== 0) return;
  const { uid, permissions } = statFd(root);
  if (uid === 0 && (permissions & 0o022) === 0) return;
  const why = uid === 0 ? 'is writable by others' : `belongs to uid ${uid}`;
  throw new RequestError('BadRequest', `${path} ${why}; root writes only into repositories of its own`, {
    hint: uid === 0 ? `chmod go-w ${path}` : 'run it as that user, or name another repository with --repo',
  });
}

const LOCK_INTERVAL = 50;

function waitForLock(root: Fd, path: string, lock: 'shared' | 'exclusive', timeoutMs: number): void {
  const end = performance.now() + timeoutMs;
  while (!tryLock(root, lock)) {
    if (performance.now() > end)
      throw new RequestError('Timeout', `others were at work in the repository ${path} for ${timeoutMs / 1000} s`, {
        hint: 'try again, or wait longer with --timeout; lslocks shows who holds its lock',
      });
    pause(LOCK_INTERVAL);
  }
}

/** In this order, so that a run that is killed leaves either nothing that says to be a repository, or one that the next run completes. */
function completeLayout(root: Fd, path: string, isNew: boolean): void {
  const names = readNamesOf(root, '.').filter((name) => !name.startsWith('.') && name !== 'lost+found');
  if (names.length === 0) {
    // A directory that was there keeps the mode it was given: objects hold what files closed to others held.
    // The service's own is closed to users, as systemd/tmpfiles.conf makes it: it decides who may read what is in there.
    if (isNew) changeMode(root, path === DEFAULT_REPOSITORY ? 0o700 : 0o755);
    writeMeta(root);
  } else if (!names.includes('meta.json') && !names.includes('objects')) {
    throw new RequestError('BadRequest', `${path} is neither a repository nor empty`, {
      hint: 'name a new directory with --repo',
    });
  }
  for (const name of ['objects', 'images', 'images/refs']) makeDirectory(root, name);
}

function writeMeta(root: Fd): void {
  using drafts = openDrafts(root);
  using draft = drafts.make();
  writeAllAt(draft.file, Buffer.from(NEW_META), 0);
  changeMode(draft.file, 0o644);
  fsync(draft.file);
  try {
    draft.publish(root, 'meta.json', false);
    fsync(root);
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error;
  }
}

/** Makes a directory below a repository, with its name on the disk, unless it is there. No link is followed on the way. Throws SyscallError. */
export function makeDirectory(root: Fd, path: string): void {
  const slash = path.lastIndexOf('/');
  using parent = openBeneath(root, slash < 0 ? '.' : path.slice(0, slash), O_RDONLY | O_DIRECTORY);
  try {
    makeDirectoryAt(parent, path.slice(slash + 1), 0o755);
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error;
    return;
  }
  using made = openBeneath(root, path, O_RDONLY | O_DIRECTORY);
  changeMode(made, 0o755);
  fsync(parent);
}

export function syncDirectory(root: Fd, path: string): void {
  using directory = openBeneath(root, path, O_RDONLY | O_DIRECTORY);
  fsync(directory);
}

/** Names in a directory below a repository, one byte in a character; none if it is missing. Throws SyscallError. */
export function readNamesOf(root: Fd, path: string): string[] {
  try {
    using directory = openBeneath(root, Buffer.from(path, 'latin1'), O_RDONLY | O_DIRECTORY);
    return readNames(directory);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    throw error;
  }
}

function requireLayout(root: Fd, path: string): RepositoryMeta {
  const text = readMeta(root);
  if (text !== undefined) return parseMeta(text);
  // Not every tool writes one, and the first ones of composefs-rs had none.
  if (readNamesOf(root, '.').includes('objects')) return { algorithm: guessAlgorithm(root), readOnly: undefined };
  throw new RequestError('BadRequest', `${path} is not a repository: it has neither meta.json nor objects`, {
    hint: 'cfsctl import makes a repository; --repo names another',
  });
}

const MAX_META = 65_536;

function readMeta(root: Fd): string | undefined {
  try {
    using file = openBeneath(root, 'meta.json', O_RDONLY | O_NONBLOCK);
    const bytes = Buffer.alloc(MAX_META);
    return bytes.toString('utf8', 0, readAt(file, bytes, 0));
  } catch (error) {
    if (error instanceof SyscallError && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** By the length of the names of the objects. */
function guessAlgorithm(root: Fd): VerityAlgorithm {
  for (const parent of readNamesOf(root, 'objects')) {
    if (!/^[0-9a-f]{2}$/.test(parent)) continue;
    const [name] = readNamesOf(root, `objects/${parent}`);
    if (name !== undefined) return name.length === 126 ? 'sha512' : 'sha256';
  }
  return 'sha256';
}
