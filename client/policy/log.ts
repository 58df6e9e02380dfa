// cfsctl log: the audit lines of the service, from the journal or from a file of its standard error.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { RequestError } from '../../core/wire/errors.js';
import { nameOfUid } from '../../core/kernel/identity.js';
import { formatJson, formatTable, formatTime, print, shortenDigest } from '../output.js';

export interface LogOptions {
  /** The journal if undefined; `-` is standard input. */
  readonly file: string | undefined;
  readonly lines: number;
  readonly denied: boolean;
  readonly json: boolean;
}

type AuditLine = Readonly<Record<string, unknown>>;

export function runLog({ file, lines, denied, json }: LogOptions): void {
  const all = (file === undefined ? readJournal() : readLog(file)).split('\n').flatMap(parseAudit);
  const shown = all.filter(({ verdict }) => !denied || verdict !== 'allow').slice(-lines);
  if (json) return print(formatJson(shown));
  print(formatTable(['TIME', 'USER', 'METHOD', 'VERDICT', 'IMAGE', 'RULE', 'REASON'], shown.map(formatRow)));
}

/** Fields with an underscore are the journal's own: nobody else can write lines of the service. */
const JOURNAL = ['--no-pager', '--output=cat', '--quiet', '_SYSTEMD_UNIT=cfsmountd.service', 'CFSMOUNTD_AUDIT=true'];
const MAX_OUTPUT = 2 ** 28;

function readJournal(): string {
  const { status, stdout, stderr, error } = spawnSync('journalctl', JOURNAL, { encoding: 'utf8', maxBuffer: MAX_OUTPUT });
  const hint = 'name the file that the standard error of the service goes to: cfsctl log FILE';
  if (error) throw new RequestError('Failed', `journalctl cannot be run (${(error as NodeJS.ErrnoException).code})`, { hint });
  if (status !== 0) throw new RequestError('Failed', `journalctl: ${stderr.trim().split('\n')[0] ?? ''}`, { hint });
  return stdout;
}

function readLog(file: string): string {
  const log = readText(file);
  if (log.trim() === '' || log.split('\n').some((line) => parseLine(line) !== undefined)) return log;
  throw new RequestError('Failed', `${file === '-' ? 'standard input' : file} is no log of the service: no line of it is JSON`);
}

function readText(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (cause) {
    throw new RequestError('Failed', `the log ${file} cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}

/** Other lines are none of ours. */
function parseAudit(line: string): AuditLine[] {
  const value = parseLine(line);
  return value?.['audit'] === true ? [value] : [];
}

/** A priority may stand in front. */
function parseLine(line: string): AuditLine | undefined {
  try {
    const value = JSON.parse(line.replace(/^<\d>/, '')) as unknown;
    return typeof value === 'object' && value !== null ? (value as AuditLine) : undefined;
  } catch {
    return undefined;
  }
}

function formatRow(line: AuditLine): string[] {
  const { time, uid, method, verdict, image, digest, rule, reason } = line;
  const user = typeof uid === 'number' ? (nameOfUid(uid) ?? String(uid)) : '';
  const what = typeof image === 'string' && !image.includes(':') ? image : shortenDigest(text(digest ?? image));
  return [formatTime(Date.parse(text(time))), user, text(method), text(verdict), what, text(rule), text(reason)];
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
