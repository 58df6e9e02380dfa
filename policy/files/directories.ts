// Which files make up the policy, by the precedence that systemd has for its own: a file of a later directory masks those of the same name in earlier ones.
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

import { statAt } from '../../core/kernel/stat.js';
import { whyReplaceable } from '../../core/kernel/trusted-path.js';
import { PolicyError } from '../problem.js';

/** Of the distribution, of this boot, of the administrator. */
export const POLICY_DIRECTORIES: readonly string[] = [
  '/usr/lib/cfsmountd/policy.d',
  '/run/cfsmountd/policy.d',
  '/etc/cfsmountd/policy.d',
];

/** Of certificates. */
export const KEY_DIRECTORIES: readonly string[] = ['/usr/lib/cfsmountd/keys.d', '/run/cfsmountd/keys.d', '/etc/cfsmountd/keys.d'];

/** Policy files, and lists of digests that they name. */
const POLICY_ENDINGS = ['.toml', '.list'];
/** Certificates, and lists of those that count no more. */
const KEY_ENDINGS = ['.crt', '.revoked'];

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';

/** Names in a directory of either kind that mean something here; none if it is not there. */
export function namesThatCount(directory: string): string[] {
  return namesWith([...POLICY_ENDINGS, ...KEY_ENDINGS], directory);
}

function namesWith(endings: readonly string[], directory: string): string[] {
  try {
    return readdirSync(directory).filter((name) => endings.some((ending) => name.endsWith(ending)));
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

/** The files that count, by name. What masks a file is not one itself if it is a link to /dev/null. Throws PolicyError if others than root could change a directory. */
export function findPolicyFiles(directories: readonly string[]): ReadonlyMap<string, string> {
  return findFiles(POLICY_ENDINGS, directories);
}

/** The same of certificates and their revocations. */
export function findKeyFiles(directories: readonly string[]): ReadonlyMap<string, string> {
  return findFiles(KEY_ENDINGS, directories);
}

function findFiles(endings: readonly string[], directories: readonly string[]): ReadonlyMap<string, string> {
  const paths = new Map<string, string>();
  for (const directory of directories.filter(isThere)) {
    const why = statAt(null, directory).type === 'file' ? 'is a file; make it a directory' : whyReplaceable(directory);
    if (why !== undefined) throw new PolicyError([{ file: directory, line: 1, message: why }]);
    for (const name of namesWith(endings, directory)) paths.set(name, join(directory, name));
  }
  const inOrder = [...paths].sort(([a], [b]) => (a < b ? -1 : 1));
  return new Map(inOrder.filter(([, path]) => !isLinkToNull(path)));
}

function isThere(directory: string): boolean {
  try {
    statAt(null, directory);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

function isLinkToNull(path: string): boolean {
  return statAt(null, path).type === 'symlink' && readlinkSync(path) === '/dev/null';
}
