// Changes of files that are a user's own: shown, and made so that what was there before is kept beside.
import { accessSync, constants, lstatSync, mkdirSync, realpathSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { SyscallError } from '../../core/kernel/error.js';
import { RequestError } from '../../core/wire/errors.js';
import { removeFile, writeWholeFile } from '../whole-file.js';
import { formatDiff } from './diff.js';
import { MARK } from './toml-file.js';

export interface Change {
  readonly path: string;
  /** Undefined: there is no such file. */
  readonly before: string | undefined;
  readonly after: string | undefined;
  /** Nobody else has written the file: no copy is kept. */
  readonly own?: true;
}

const BACKUP_ENDING = '.before-cfsctl';
const MODE = 0o644;

export function isNeeded({ before, after }: Change): boolean {
  return before !== after;
}

export function diffOf({ path, before, after }: Change): string {
  return formatDiff(path, before, after);
}

/** Throws `RequestError` BadRequest for a link to nothing, and a file that only its directory would let us replace. */
export function requireChangeable({ path }: Change): void {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return;
  const target = statSync(path, { throwIfNoEntry: false });
  if (target === undefined)
    throw new RequestError('BadRequest', `${path} is a link to a file that is not there`, {
      hint: 'remove the link, or make the file',
    });
  if (target.uid !== process.geteuid?.())
    throw new RequestError('BadRequest', `${path} belongs to somebody else`, { hint: 'put a copy of your own in its place' });
  if (!isWritable(path))
    throw new RequestError('BadRequest', `${path} is read-only`, { hint: 'chmod u+w, if you want it changed' });
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

export interface Made {
  readonly path: string;
  /** Path of the copy of what was there; undefined if none was made. */
  readonly backup: string | undefined;
  /** All as it was, but for the copy. Throws `RequestError`. */
  readonly takeBack: () => void;
}

/** Throws `RequestError`, and then nothing is changed. */
export function makeChange({ path, before, after, own }: Change): Made {
  return translateErrors(path, () => {
    if (before === undefined) mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    // The file may be a link to where the user keeps such files: that one is changed.
    const target = before === undefined ? path : realpathSync(path);
    const mode = before === undefined ? MODE : statSync(target).mode & 0o777;
    // A text with our marks is not what the user had: the copy of that is kept.
    const backup = before === undefined || own === true || before.includes(MARK) ? undefined : `${path}${BACKUP_ENDING}`;
    if (backup !== undefined) writeWholeFile(backup, before!, mode);
    replace(target, after, mode);
    return { path, backup, takeBack: () => translateErrors(path, () => replace(target, before, mode)) };
  });
}

function replace(path: string, text: string | undefined, mode: number): void {
  if (text === undefined) removeFile(path);
  else writeWholeFile(path, text, mode);
}

function translateErrors<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    const code = cause instanceof SyscallError ? cause.code : (cause as NodeJS.ErrnoException).code;
    if (typeof code !== 'string') throw cause;
    throw new RequestError('Failed', `${path} cannot be written (${code})`, { cause });
  }
}
