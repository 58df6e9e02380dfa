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
