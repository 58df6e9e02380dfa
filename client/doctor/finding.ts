import { RequestError } from '../../core/wire/errors.js';

export interface Finding {
  /** What was looked at, in a word or two. */
  readonly check: string;
  readonly status: 'ok' | 'warn' | 'fail';
  readonly says: string;
  /** What to do about it; a command where one does it. */
  readonly mend?: string;
}

export function ok(check: string, says: string): Finding {
  return { check, status: 'ok', says };
}

/** Something does not work that may not be wanted, or works less well than it could. */
export function warn(check: string, says: string, mend: string): Finding {
  return { check, status: 'warn', says, mend };
}

/** Images cannot be mounted, or podman cannot use them. */
export function fail(check: string, says: string, mend: string): Finding {
  return { check, status: 'fail', says, mend };
}

/** A file that cannot be read, or is broken, is a finding, and the rest is looked at all the same. Throws what is a mistake of ours. */
export function failureOf(check: string, error: unknown): Finding {
  if (error instanceof RequestError) return fail(check, error.message, error.hint ?? 'mend it');
  if (typeof (error as NodeJS.ErrnoException).code !== 'string') throw error;
  return fail(check, (error as Error).message, 'see to it that you may read it');
}
