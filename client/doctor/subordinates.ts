// The ranges of ids that a user's containers have: subuid(5), subgid(5).
import { shellWord } from '../shell-word.js';
import { type Finding, fail, ok, warn } from './finding.js';

export interface User {
  readonly uid: number;
  /** Undefined where the host has no name for the uid. */
  readonly name: string | undefined;
}

/** Ids of a container but its root's: so many has podman of itself. */
const ENOUGH = 65_536;
/** login.defs(5): SUB_UID_MIN, as it is where nothing else is said. */
const LOWEST = 100_000;

const OPTIONS = { subuid: '--add-subuids', subgid: '--add-subgids' } as const;
type File = keyof typeof OPTIONS;
const FILES: readonly File[] = ['subuid', 'subgid'];

/** The text of each file; undefined: it cannot be read. */
export type Texts = Readonly<Record<File, string | undefined>>;

interface Range {
  /** A name, or a uid. */
  readonly owner: string;
  readonly first: number;
  readonly count: number;
}

/** A finding for each file. */
export function judgeSubordinates(texts: Texts, user: User, nsswitch = ''): Finding[] {
  const mend = mendOf(texts, user);
  return FILES.map((file) => {
    const count = countOf(texts[file], user);
    if (count >= ENOUGH) return ok(file, `${count} subordinate ids`);
    if (/^subid:(?!\s*files\s*$)/m.test(nsswitch))
      return warn(file, 'not from files (nsswitch.conf): not looked at', `getsubids ${ownerOf(user)} lists them`);
    if (count === 0) return fail(file, `no subordinate ids in /etc/${file}`, mend);
    return warn(file, `${count} subordinate ids, and images expect ${ENOUGH}`, mend);
  });
}

function ownerOf({ uid, name }: User): string {
  return shellWord(name ?? String(uid));
}

function countOf(text: string | undefined, { uid, name }: User): number {
  return rangesOf(text)
    .filter(({ owner }) => owner === name || owner === String(uid))
    .reduce((sum, { count }) => sum + count, 0);
}

function rangesOf(text = ''): Range[] {
  return text.split('\n').flatMap((line) => {
    const [owner = '', first = '', count = ''] = line.split(':');
    return /^\d+$/.test(first) && /^\d+$/.test(count) ? [{ owner, first: Number(first), count: Number(count) }] : [];
  });
}

/** One line that mends both files, to be pasted by the user. */
function mendOf(texts: Texts, user: User): string {
  // newuidmap(1) refuses who has no name; useradd gives ranges of its own.
  if (user.name === undefined) return `sudo useradd --uid ${user.uid} user${user.uid}`;
  const first = findFree([{ owner: '', first: user.uid, count: 1 }, ...FILES.flatMap((file) => rangesOf(texts[file]))]);
  const lacking = FILES.filter((file) => countOf(texts[file], user) < ENOUGH);
  // usermod(8) does not make them.
  const missing = lacking.filter((file) => texts[file] === undefined).map((file) => `/etc/${file}`);
  return [
    ...(missing.length > 0 ? [`sudo touch ${missing.join(' ')}`] : []),
    `sudo usermod ${lacking.map((file) => `${OPTIONS[file]} ${first}-${first + ENOUGH - 1}`).join(' ')} ${ownerOf(user)}`,
    'podman system migrate',
  ].join(' && ');
}

/** The first id of a range that is in none of those taken. */
function findFree(taken: readonly Range[]): number {
  let first = LOWEST;
  for (const range of taken.toSorted((a, b) => a.first - b.first))
    if (range.first < first + ENOUGH) first = Math.max(first, range.first + range.count);
  return first;
}
