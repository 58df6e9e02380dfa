import pino from 'pino';

import { quoteClientText } from '../core/wire/quote.js';
import { openLogOutput } from './journal.js';

export type Log = pino.Logger;

/** JSON lines, to the journal or to stderr; synchronous, so that the last line before a crash is there. */
export function openLog(): Log {
  return pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } },
    openLogOutput(),
  );
}

/** One decision, as the audit log has it. */
export interface AuditEntry {
  readonly uid: number;
  readonly pid?: number | undefined;
  readonly method: string;
  /** 'revoked': what was allowed once would not be any more. */
  readonly verdict: 'allow' | 'deny' | 'revoked';
  /** What the caller named: text of theirs, escaped in the log. */
  readonly image?: string | undefined;
  readonly digest?: string | undefined;
  readonly rule?: string | undefined;
  readonly reason?: string | undefined;
  /** Inode number of the user namespace. */
  readonly userns?: bigint | undefined;
  readonly mount?: bigint | undefined;
  /** Error code of a refusal. */
  readonly error?: string | undefined;
  /** Microseconds from the request to the decision's effect. */
  readonly us?: number;
}

const MESSAGES = { allow: 'allowed', deny: 'denied', revoked: 'no longer trusted' } as const;

/** Writes the one line that every decision leaves. */
export function audit(log: Log, entry: AuditEntry): void {
  const { userns, mount, image, ...plain } = entry;
  log.info(
    {
      audit: true,
      ...plain,
      ...(image === undefined ? {} : { image: quoteClientText(image).slice(1, -1) }),
      ...(userns === undefined ? {} : { userns: userns.toString() }),
      ...(mount === undefined ? {} : { mount: mount.toString() }),
    },
    MESSAGES[entry.verdict],
  );
}
