import pino from 'pino';

import { quoteClientText } from '../core/wire/quote.js';

export type Log = pino.Logger;

/** JSON lines on stderr, which the journal takes; synchronous, so that the last line before a crash is there. */
export function openLog(): Log {
  return pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } },
    pino.destination({ fd: 2, sync: true }),
  );
}

/** One decision, as the audit log has it. */
export interface AuditEntry {
  readonly uid: number;
  readonly pid: number | undefined;
  readonly method: string;
  readonly verdict: 'allow' | 'deny';
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
  readonly us: number;
}

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
    entry.verdict === 'allow' ? 'allowed' : 'denied',
  );
}
