// The policy as its files say, read here: who may read them may know what they say, and the service is not asked.
import { existsSync } from 'node:fs';
import { SyscallError } from '../../core/kernel/error.js';
import { RequestError } from '../../core/wire/errors.js';
import { POLICY_DIRECTORIES } from '../../policy/files/directories.js';
import { readPolicyFrom } from '../../policy/files/read-policy.js';
import { findRepositoryProblems } from '../../policy/files/repositories.js';
import type { PolicyText } from '../../policy/load.js';
import type { Policy } from '../../policy/policy.js';
import { PolicyError, type Problem } from '../../policy/problem.js';

/** Where the files are; the service's own directories if none is given. Those may be missing, and one that is named may not: throws `RequestError`. */
export function directoriesOf(given: readonly string[] | undefined): readonly string[] {
  if (given === undefined || given.length === 0) return POLICY_DIRECTORIES;
  for (const directory of given) requireThere(directory);
  return given;
}

function requireThere(path: string): void {
  if (existsSync(path)) return;
  throw new RequestError('BadRequest', `there is no directory ${JSON.stringify(path)}`, {
    hint: 'policy files are read from a directory, as /etc/cfsmountd/policy.d is one',
  });
}

/** `draft` stands for the file that is about to be written. Throws `RequestError` if the files are broken or cannot be read. */
export function readPolicy(directories: readonly string[], draft?: PolicyText): Policy {
  const { policy, problems } = inspectPolicy(directories, draft);
  if (policy !== undefined && problems.length === 0) return policy;
  const lines = problems.map(({ file, line, message }) => `${file}:${line}: ${message}`);
  throw new RequestError('Failed', `the policy is broken: ${lines.join('; ')}`, {
    hint: 'cfsctl policy validate lists what to mend',
  });
}

/** What is asked for is at fault where the files are in order without it. Throws `RequestError`. */
export function requireUsable(directories: readonly string[], draft: PolicyText): void {
  const { problems } = inspectPolicy(directories, draft);
  if (problems.length === 0) return;
  const reasons = problems.filter(({ file }) => file === draft.path).map(({ message }) => message);
  if (reasons.length === problems.length) throw new RequestError('BadRequest', `nothing was written: ${reasons.join('; ')}`);
  readPolicy(directories, draft);
}

/** All that is wrong with the files, as the service would find it. Throws `RequestError` if they cannot be read. */
export function inspectPolicy(
  directories: readonly string[],
  draft?: PolicyText,
): { readonly policy: Policy | undefined; readonly problems: readonly Problem[] } {
  try {
    const policy = readPolicyFrom(directories, draft);
    return { policy, problems: findRepositoryProblems(policy) };
  } catch (error) {
    if (error instanceof PolicyError) return { policy: undefined, problems: error.problems };
    const code = error instanceof SyscallError ? error.code : (error as NodeJS.ErrnoException).code;
    if (typeof code !== 'string') throw error;
    throw new RequestError('Failed', `the policy cannot be read (${code})`, { hint: 'run it as root', cause: error });
  }
}
