import { RequestError, parseErrorReply } from '../core/wire/errors.js';
import type { ErrorCode } from '../core/wire/errors.js';

export const START_HINT = 'start the service with `systemctl enable --now cfsmountd.socket`';
export const JOURNAL_HINT = 'look at `journalctl -u cfsmountd`';
export const VERSION_HINT = 'compare `cfsctl --version` with the version of the service: they should be the same';

/** The cause of an error that says: there is nothing that could be the service. */
export class NoService extends Error {}

export function isNoService(error: unknown): boolean {
  return error instanceof RequestError && error.cause instanceof NoService;
}

const STANDARD = 'org.freedesktop.DBus.Error.';

// D-Bus specification and dbus-daemon: errors that are not the service's own.
const STANDARD_CODES: Readonly<Record<string, ErrorCode>> = {
  AccessDenied: 'NotAuthorized',
  InvalidArgs: 'BadRequest',
  LimitsExceeded: 'QuotaExceeded',
  Timeout: 'Timeout',
  TimedOut: 'Timeout',
  UnknownMethod: 'NotSupported',
  UnknownInterface: 'NotSupported',
  UnknownObject: 'NotSupported',
  UnknownProperty: 'NotSupported',
};

/** What an error reply means. A name that is not the service's own is turned into the nearest of its codes. */
export function readErrorReply(name: string, text: unknown): RequestError {
  const message = typeof text === 'string' && text !== '' ? text : name;
  const own = parseErrorReply(name, message);
  if (own !== undefined) return own;
  const standard = name.startsWith(STANDARD) ? name.slice(STANDARD.length) : '';
  if (standard === 'ServiceUnknown' || standard === 'NameHasNoOwner' || standard.startsWith('Spawn')) {
    const cause = standard.startsWith('Spawn') ? undefined : new NoService();
    return new RequestError('Failed', `the bus does not know the service: ${message}`, { hint: START_HINT, cause });
  }
  if (standard === 'NoReply')
    return new RequestError('Failed', 'the service went away before it answered', { hint: JOURNAL_HINT });
  const code = Object.hasOwn(STANDARD_CODES, standard) ? STANDARD_CODES[standard] : undefined;
  return new RequestError(code ?? 'Failed', message);
}
