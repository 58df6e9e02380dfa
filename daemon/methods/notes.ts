import type { AuditEntry } from '../log.js';

/** What a method learns on its way, for the audit line that is written however it ends. */
export type Notes = { -readonly [K in 'image' | 'digest' | 'rule' | 'userns' | 'mount' | 'reason']?: AuditEntry[K] } & {
  /** Set by a check, which refuses without an error. */
  verdict?: 'allow' | 'deny';
};
