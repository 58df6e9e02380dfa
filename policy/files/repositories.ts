import { isErrno } from '../../core/kernel/error.js';
import { statAt } from '../../core/kernel/stat.js';
import { whyTreeReplaceable } from '../../core/kernel/trusted-path.js';
import type { Policy, Repository } from '../policy.js';
import type { Problem } from '../problem.js';

/** Why a repository cannot be used as the policy says, and the mend; undefined if it can as far as its files tell. */
export function whyUnusable({ path, objects }: Pick<Repository, 'path' | 'objects'>): string | undefined {
  try {
    const why = objects === 'trusted' ? whyTreeReplaceable(path) : undefined;
    if (why !== undefined) return `repository with objects = "trusted": ${why}`;
    if (statAt(null, `${path}/objects`).type === 'directory') return undefined;
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTDIR')) return `repository ${path} ${String(error)}`;
  }
  return `repository ${path} is not there, or has no directory "objects"; create it`;
}

export function findRepositoryProblems({ repositories }: Policy): Problem[] {
  return repositories.flatMap((repository) => {
    const message = whyUnusable(repository);
    return message === undefined ? [] : [{ ...repository.source, message }];
  });
}
