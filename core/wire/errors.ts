import { ERROR_PREFIX } from './names.js';

export const ERROR_CODES = [
  'BadRequest',
  'BadImage',
  'NoSuchImage',
  'NotTrusted',
  'NotAuthorized',
  'BadUserNamespace',
  'QuotaExceeded',
  'NotSupported',
  'Timeout',
  'Failed',
] as const;
export type ErrorCode = (typeof ERROR_CODES)[number];

/**
 * An error the caller is meant to read. The message says what is wrong, the hint what to do next; neither holds a newline, a stack,
 * or a host path the caller could not see. `cause` is for the journal and never leaves the daemon.
 */
export class RequestError extends Error {
  override readonly name = 'RequestError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: { hint?: string | undefined; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }
}

const STANDARD_PREFIX = 'org.freedesktop.DBus.Error.';

export type StandardCode =
  | 'UnknownMethod'
  | 'UnknownInterface'
  | 'UnknownObject'
  | 'UnknownProperty'
  | 'PropertyReadOnly'
  | 'InvalidArgs'
  | 'AccessDenied'
  | 'LimitsExceeded';

/** A call that is wrong at the level of D-Bus itself; generic tools know these names. */
export class StandardError extends Error {
  override readonly name = 'StandardError';
  readonly code: StandardCode;

  constructor(code: StandardCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** The D-Bus error name of a refusal. */
export function errorName(error: ErrorCode | StandardError): string {
  return typeof error === 'string' ? ERROR_PREFIX + error : STANDARD_PREFIX + error.code;
}

/** The code behind a D-Bus error name; undefined for a name that is not one of ours. */
export function codeOfErrorName(name: string): ErrorCode | undefined {
  return ERROR_CODES.find((code) => ERROR_PREFIX + code === name);
}

/** The one string of an error reply: the message, and the hint on a second line (GDBus reads only replies of signature `s`). */
export function errorText(error: RequestError | StandardError): string {
  const hint = error instanceof RequestError ? error.hint : undefined;
  return hint === undefined ? error.message : `${error.message}\n${hint}`;
}

/** Takes apart what `errorText` joined; undefined for an error name that is not one of ours. */
export function parseErrorReply(name: string, text: string): RequestError | undefined {
  const code = codeOfErrorName(name);
  if (code === undefined) return undefined;
  const newline = text.indexOf('\n');
  if (newline < 0) return new RequestError(code, text);
  return new RequestError(code, text.slice(0, newline), { hint: text.slice(newline + 1) });
}
