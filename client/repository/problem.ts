// What cfsctl fsck finds.
import type { ByteString } from '../../core/image/bytes.js';
import { showBytes } from '../inspect/shown-bytes.js';

/** The words stay as they are. */
export type Trouble =
  | 'unknown-entry'
  | 'not-a-file'
  | 'unreadable'
  | 'wrong-digest'
  | 'wrong-link'
  | 'missing'
  | 'missing-object'
  | 'dangling';

export interface Problem {
  /** Path below the repository, for people. */
  readonly where: string;
  readonly problem: Trouble;
  readonly because: string;
}

export function problem(where: string, kind: Trouble, because: string): Problem {
  return { where: showBytes(where as ByteString), problem: kind, because };
}
