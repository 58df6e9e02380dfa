// The policy with the repositories it names, opened: what is in force is used as one, and closed as one.
import { isErrno } from '../core/kernel/error.js';
import { groupsOf } from '../core/kernel/identity.js';
import type { TrustedKeys } from '../core/signature/verify.js';
import { readKeysFrom } from '../policy/files/read-keys.js';
import { readPolicyFrom } from '../policy/files/read-policy.js';
import { whyUnusable } from '../policy/files/repositories.js';
import type { Policy, Repository as RepositoryEntry } from '../policy/policy.js';
import { PolicyError } from '../policy/problem.js';
import { closeRepository, openRepository, type Repository } from './repositories.js';

/** The policy in force, and the repositories it opened. */
export interface LoadedPolicy {
  readonly policy: Policy;
  readonly repositories: readonly Repository[];
  readonly keys: TrustedKeys;
  /** Digests that rules name. */
  readonly digests: number;
  /** Milliseconds since 1970. */
  readonly loaded: number;
  /** The groups of a user as this host knew them when it was first asked under this policy. */
  groupsOf(uid: number): readonly number[];
}

export interface PolicySources {
  /** A file of a later one masks those of the same name. */
  readonly directories: readonly string[];
  /** Of certificates, in the same way. */
  readonly keyDirectories: readonly string[];
  /** Further repositories; objects need fs-verity. */
  readonly repositories: readonly string[];
  /** Used where they exist. */
  readonly defaultRepositories: readonly string[];
}

const refuse = (file: string, line: number, message: string): never => {
  throw new PolicyError([{ file, line, message }]);
};

function openPolicyRepository(entry: RepositoryEntry): Repository {
  const { path, objects, source } = entry;
  const why = whyUnusable(entry);
  if (why) return refuse(source.file, source.line, why);
  try {
    return openRepository(path, objects);
  } catch (error) {
    return refuse(source.file, source.line, `repository ${path} ${String(error)}`);
  }
}

function openDefaultRepositories(paths: readonly string[], taken: ReadonlySet<string>): Repository[] {
  return paths.flatMap((path) => {
    if (taken.has(path)) return [];
    try {
      return [openRepository(path, 'verity')];
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return [];
      throw error;
    }
  });
}

/** Different digests of rules, and those of each list; one that is in several lists counts in each. */
function countDigests({ rules }: Policy): number {
  const lists = new Set(rules.flatMap(({ list }) => list ?? []));
  const inLists = [...lists].reduce((sum, { size }) => sum + size, 0);
  return new Set(rules.flatMap(({ digests }) => [...digests])).size + inLists;
}

function rememberGroups(): (uid: number) => readonly number[] {
  const known = new Map<number, readonly number[]>();
  return (uid) => {
    const groups = known.get(uid) ?? groupsOf(uid);
    known.set(uid, groups);
    return groups;
  };
}

/** Reads everything anew. Throws PolicyError, or whatever else stands in the way; nothing is left open then. */
export function readPolicy(sources: PolicySources): LoadedPolicy {
  const policy = readPolicyFrom(sources.directories);
  const keys = readKeysFrom(sources.keyDirectories);
  const repositories: Repository[] = [];
  try {
    const flagged = sources.repositories.map(
      (path) => ({ path, objects: 'verity', source: { file: '--repo', line: 1 } }) as const,
    );
    for (const entry of [...policy.repositories, ...flagged]) {
      if (!repositories.some(({ path }) => path === entry.path)) repositories.push(openPolicyRepository(entry));
    }
    const taken = new Set(repositories.map(({ path }) => path));
    repositories.push(...openDefaultRepositories(sources.defaultRepositories, taken));
    return { policy, repositories, keys, digests: countDigests(policy), loaded: Date.now(), groupsOf: rememberGroups() };
  } catch (error) {
    repositories.forEach(closeRepository);
    throw error;
  }
}
