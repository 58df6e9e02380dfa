// Where log lines go: to the journal with fields of their own, if the service manager connected standard error to it, and to standard error otherwise.
import { fstatSync } from 'node:fs';

import pino from 'pino';

import { sendDatagram } from '../core/kernel/socket.js';

const SOCKET = '/run/systemd/journal/socket';
const STDERR = 2;

/** syslog(3) */
const PRIORITIES: Readonly<Record<string, number>> = { fatal: 2, error: 3, warn: 4, info: 6, debug: 7, trace: 7 };
const NOTICE = 5;

interface Line {
  readonly level: string;
  readonly msg?: string;
  readonly audit?: true;
  readonly verdict?: string;
  readonly [field: string]: unknown;
}

/** One datagram of the journal's native protocol: a value of several lines goes with its length. */
export function encodeFields(fields: Readonly<Record<string, string>>): Buffer {
  const parts = Object.entries(fields).map(([name, value]) => {
    if (!value.includes('\n')) return Buffer.from(`${name}=${value}\n`);
    const bytes = Buffer.from(value);
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(bytes.length));
    return Buffer.concat([Buffer.from(`${name}\n`), length, bytes, Buffer.from('\n')]);
  });
  return Buffer.concat(parts);
}

function priorityOf({ level, audit, verdict }: Line): number {
  const priority = PRIORITIES[level] ?? 6;
  return audit && verdict !== 'allow' ? Math.min(priority, NOTICE) : priority;
}

/** The whole line as the message, as everywhere else; each field of an audit line once more as CFSMOUNTD_FIELD. */
export function journalFields(text: string): Record<string, string> {
  const line = JSON.parse(text) as Line;
  const { level: _, time: __, msg: ___, ...rest } = line;
  const own = line.audit ? Object.entries(rest).map(([key, value]) => [`CFSMOUNTD_${key.toUpperCase()}`, String(value)]) : [];
  const fields = Object.fromEntries(own) as Record<string, string>;
  return { MESSAGE: text.trimEnd(), PRIORITY: String(priorityOf(line)), SYSLOG_IDENTIFIER: 'cfsmountd', ...fields };
}

/** systemd.exec(5): JOURNAL_STREAM is the device and inode number of the stream, and may be left over from a parent. */
function isJournal(stream: string | undefined): boolean {
  const { dev, ino } = fstatSync(STDERR, { bigint: true });
  return stream === `${dev}:${ino}`;
}

/** Takes whole lines, and has written each when it returns: standard error may be a pipe that is full for a while. */
export function openLogOutput(): { write(text: string): void } {
  const stderr = pino.destination({ fd: STDERR, sync: true });
  if (!isJournal(process.env['JOURNAL_STREAM'])) return stderr;
  return {
    write(text) {
      const fields = journalFields(text);
      try {
        sendDatagram(SOCKET, encodeFields(fields), []);
      } catch {
        // Too long, too many at once, or no such socket: the stream takes lines, and their priority in front.
        stderr.write(`<${fields['PRIORITY']}>${text}`);
      }
    },
  };
}
