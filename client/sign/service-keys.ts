import type { TrustedKeys } from '../../core/signature/verify.js';
import { RequestError } from '../../core/wire/errors.js';
import { KEY_DIRECTORIES } from '../../policy/files/directories.js';
import { readKeysFrom } from '../../policy/files/read-keys.js';
import { PolicyError } from '../../policy/problem.js';

/** The certificates of the service, unless it was told of other directories. Throws `RequestError`. */
export function readServiceKeys(): TrustedKeys {
  try {
    return readKeysFrom(KEY_DIRECTORIES);
  } catch (cause) {
    if (!(cause instanceof PolicyError)) throw cause;
    throw new RequestError('Failed', cause.message, { cause });
  }
}
