// Reads the policy directories: every file must be root's alone, or nothing is loaded.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { isErrno } from '../core/kernel/error.js';
import { gidOf, uidOf } from '../core/kernel/identity.js';
import { statAt } from '../core/kernel/stat.js';
import { KeyFileError, readKeyFiles } from '../core/signature/key-files.js';
import type { TrustedKeys } from '../core/signature/verify.js';
import { loadPolicy, type PolicyText } from '../policy/load.js';
import type { Policy, Repository as RepositoryEntry } from '../policy/policy.js';
import { PolicyError } from '../policy/problem.js';
import { closeRepository, openRepository, type Repository } from './repositories.js';
import { whyReplaceable, whyTreeReplaceable } from './trusted-path.js';

/** The policy in force, and the repositories it opened. */
export interface LoadedPolicy {
  readonly policy: Policy;
  readonly repositories: readonly Repository[];
  readonly keys: TrustedKeys;
  /** Milliseconds since 1970. */
  readonly loaded: number;
}

export interface PolicySources {
  readonly directories: readonly string[];
  /** Of certificates; the first counts most. */
  readonly keyDirectories: readonly string[];
  /** Further repositories; objects need fs-verity. */
  readonly repositories: readonly string[];
  /** Used where they exist. */
  readonly defaultRepositories: readonly string[];
}

const refuse = (file: string, line: number, message: string): never => {
  throw new PolicyError([{ file, line, message }]);
};

function readPolicyFile(path: string): PolicyText {
  if (statAt(null, path).type !== 'file') refuse(path, 1, 'is not a regular file; remove it');
  const why = whyReplaceable(path);
  if (why) refuse(path, 1, why);
  return { path, text: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(readFileSync(path)) };
}

function readPolicyDirectory(directory: string): PolicyText[] {
  let names: string[];
  try {
    names = readdirSync(directory).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  const why = whyReplaceable(directory);
  if (why) refuse(directory, 1, why);
  return names.filter((name) => name.endsWith('.toml')).map((name) => readPolicyText(join(directory, name)));
}

function readPolicyText(path: string): PolicyText {
  try {
    return readPolicyFile(path);
  } catch (error) {
    if (error instanceof TypeError) return refuse(path, 1, 'is not UTF-8 text; save it as UTF-8');
    throw error;
  }
}

function readTrustedKeys(directories: readonly string[]): TrustedKeys {
  try {
    return readKeyFiles(directories, whyReplaceable);
  } catch (error) {
    if (error instanceof KeyFileError) return refuse(error.file, error.line, error.message);
    throw error;
  }
}

function openPolicyRepository({ path, objects, source }: RepositoryEntry): Repository {
  try {
    const why = objects === 'trusted' ? whyTreeReplaceable(path) : undefined;
    if (why) refuse(source.file, source.line, `repository with objects = "trusted": ${why}`);
    return openRepository(path, objects);
  } catch (error) {
    if (error instanceof PolicyError) throw error;
    const reason = isErrno(error, 'ENOENT') ? 'is not there, or has no directory "objects"; create it' : String(error);
    return refuse(source.file, source.line, `repository ${path} ${reason}`);
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

/** Reads everything anew. Throws PolicyError, or whatever else stands in the way; nothing is left open then. */
export function readPolicy(sources: PolicySources): LoadedPolicy {
  const policy = loadPolicy(sources.directories.flatMap(readPolicyDirectory), { uidOf, gidOf });
  const keys = readTrustedKeys(sources.keyDirectories);
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
    return { policy, repositories, keys, loaded: Date.now() };
  } catch (error) {
    repositories.forEach(closeRepository);
    throw error;
  }
}
