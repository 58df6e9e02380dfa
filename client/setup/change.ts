// Changes of files that are a user's own: shown, and made so that what was there before is kept beside.
import { mkdirSync, realpathSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { SyscallError } from '../../core/kernel/error.js';
import { RequestError } from '../../core/wire/errors.js';
import { removeFile, writeWholeFile } from '../whole-file.js';
import { formatDiff } from './diff.js';

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

/** Returns the path of the copy of what was there; undefined if nothing was. Throws `RequestError`. */
export function makeChange({ path, before, after, own }: Change): string | undefined {
  try {
    if (before === undefined) {
      mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
      writeWholeFile(path, after ?? '', MODE);
      return undefined;
    }
    // The file may be a link to where the user keeps such files: that one is changed.
    const target = realpathSync(path);
    const mode = statSync(target).mode & 0o777;
    const backup = own === true ? undefined : `${path}${BACKUP_ENDING}`;
    if (backup !== undefined) writeWholeFile(backup, before, mode);
    if (after === undefined) removeFile(path);
    else writeWholeFile(target, after, mode);
    return backup;
  } catch (cause) {
    const code = cause instanceof SyscallError ? cause.code : (cause as NodeJS.ErrnoException).code;
    if (typeof code !== 'string') throw cause;
    throw new RequestError('Failed', `${path} cannot be written (${code})`, { cause });
  }
}
