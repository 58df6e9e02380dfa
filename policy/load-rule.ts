// From an entry of a policy file to a rule: what each key means, and which keys go together.
import { parseVerityDigest, type VerityDigest } from '../core/image/digest.js';
import { FormatError } from '../core/image/format-error.js';
import type { DigestList } from './digest-list.js';
import { describeBadPattern } from './name-pattern.js';
import type { Rule } from './policy.js';
import { type Source, quote } from './problem.js';
import type { RuleEntry } from './schema.js';
import type { Path } from './toml.js';

/** How names of users and groups become host ids; undefined for a name nobody has. */
export interface Names {
  uidOf(name: string): number | undefined;
  gidOf(name: string): number | undefined;
}

/** Where an entry stands, and what is said against it. */
export interface EntryContext {
  readonly names: Names;
  /** Undefined if it was refused. */
  readList(name: string): DigestList | undefined;
  sourceOf(path: Path): Source;
  refuse(path: Path, message: string): void;
}

/** A caller could get around these: by naming the digest instead of the name, or by leaving the signature away. */
const NOT_FOR_DENY = [
  ...(['repository', 'names', 'signature', 'signers', 'polkit', 'nosuid', 'noexec'] as const),
  ...(['devices', 'setuid', 'fcaps', 'canonical', 'max-entries', 'max-size'] as const),
];

export function readRule(entry: RuleEntry, context: EntryContext): Rule {
  requireKeysThatFit(entry, context);
  const { repository, names, signers } = entry;
  for (const [index, pattern] of (names ?? []).entries()) {
    const why = describeBadPattern(pattern);
    if (why !== undefined) context.refuse(['names', index], `${quote(pattern)}: ${why}; write names = ["team/*"]`);
  }
  return {
    name: entry.name,
    deny: entry.deny === true,
    digests: readDigests(entry.digests ?? [], context),
    list: (entry['digest-file'] !== undefined && context.readList(entry['digest-file'])) || null,
    repository: repository === undefined ? null : { path: repository, names: names ?? null },
    signature: entry.signature === undefined ? null : { signers: signers ? new Set(signers) : null },
    uids: readIds('user', entry.users, (name) => context.names.uidOf(name), context),
    gids: readIds('group', entry.groups, (name) => context.names.gidOf(name), context),
    ...readValidity(entry, context),
    nosuid: entry.nosuid ?? false,
    noexec: entry.noexec ?? false,
    // A mount never opens a device, whatever is said here: an image that holds one was made by mistake, or for an attack.
    devices: entry.devices ?? 'deny',
    setuid: entry.setuid ?? 'allow',
    fcaps: entry.fcaps ?? 'allow',
    canonical: entry.canonical ?? 'allow',
    maxEntries: entry['max-entries'] ?? null,
    maxSize: readSize(entry['max-size']),
    polkit: entry.polkit ?? null,
    source: context.sourceOf([]),
  };
}

function requireKeysThatFit(entry: RuleEntry, { refuse }: EntryContext): void {
  if (entry.names && entry.repository === undefined) refuse(['names'], 'names goes with repository; name one, or take names out');
  if (entry.signers && !entry.signature) refuse(['signers'], 'signers goes with signature = true; add it');
  if (entry.deny) {
    for (const key of NOT_FOR_DENY)
      if (entry[key] !== undefined) refuse([key], `a rule with deny = true denies whatever it matches; take ${key} out`);
    return;
  }
  if (!(entry.digests ?? entry['digest-file'] ?? entry.repository ?? entry.signature)) {
    refuse([], 'digests is missing; write digests = ["sha256:…"], or digest-file, repository or signature');
  }
}

function readDigests(texts: readonly string[], { refuse }: EntryContext): Set<VerityDigest> {
  const digests = new Set<VerityDigest>();
  for (const [index, text] of texts.entries()) {
    try {
      digests.add(parseVerityDigest(text));
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      refuse(['digests', index], `${error.message}; write it as "fsverity digest IMAGE" prints it`);
    }
  }
  return digests;
}

function readIds(
  kind: 'user' | 'group',
  entries: readonly (string | number)[] | undefined,
  idOf: (name: string) => number | undefined,
  { refuse }: EntryContext,
): Set<number> | null {
  if (entries === undefined) return null;
  const ids = new Set<number>();
  for (const [index, entry] of entries.entries()) {
    const id = typeof entry === 'number' ? entry : idOf(entry);
    if (id === undefined) refuse([`${kind}s`, index], describeUnknownName(kind, String(entry)));
    else ids.add(id);
  }
  return ids;
}

function describeUnknownName(kind: 'user' | 'group', name: string): string {
  const mend = /^\d+$/.test(name) ? 'write an id without quotes' : `create the ${kind} first, or write its id`;
  return `this system has no ${kind} ${quote(name)}; ${mend}`;
}

function readValidity(entry: RuleEntry, context: EntryContext): Pick<Rule, 'notBefore' | 'notAfter'> {
  const notBefore = readTime('not-before', entry['not-before'], 'T00:00:00Z', context);
  const notAfter = readTime('not-after', entry['not-after'], 'T23:59:59.999Z', context);
  if (notBefore !== null && notAfter !== null && notBefore > notAfter)
    context.refuse(['not-after'], 'not-after is before not-before, so the rule is never in force; change one of the two');
  return { notBefore, notAfter };
}

const DATE = /^\d{4}-\d{2}-\d{2}$/;
// RFC 3339, section 5.6; TOML has the space instead of the T, too.
const DATE_TIME = /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})$/;

/** Milliseconds since 1970. A day without a time counts from its start in UTC, or to its end. */
function readTime(key: 'not-before' | 'not-after', text: string | undefined, timeOfDay: string, { refuse }: EntryContext) {
  if (text === undefined) return null;
  const whole = DATE.test(text) ? text + timeOfDay : text.replace(' ', 'T').toUpperCase();
  const time = DATE_TIME.test(whole) ? Date.parse(whole) : NaN;
  if (!Number.isNaN(time) && isInCalendar(whole.slice(0, 10))) return time;
  refuse([key], `${key} is not a date with a time zone; write ${key} = 2027-01-31T12:00:00Z, or a day, 2027-01-31`);
  return null;
}

/** Date.parse takes February 30 for March 1 or 2. */
function isInCalendar(day: string): boolean {
  return new Date(`${day}T00:00:00Z`).toISOString().slice(0, 10) === day;
}

const UNITS: Readonly<Record<string, number>> = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

/** The schema has seen to the form. */
function readSize(size: string | number | undefined): number | null {
  if (typeof size !== 'string') return size ?? null;
  const [number, unit] = size.split(' ');
  return Number(number) * UNITS[unit!]!;
}
