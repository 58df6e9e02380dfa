import { type DigestList, readDigestList } from './digest-list.js';
import { type EntryContext, type Names, readRule } from './load-rule.js';
import { DEFAULT_LIMITS, type Limits, type Policy, type Repository, type Rule } from './policy.js';
import { type Problem, type Source, PolicyError, nearest, quote } from './problem.js';
import { type PolicyFile, type RuleEntry, knownKeys, policyFile } from './schema.js';
import { type Path, type TomlDocument, readToml } from './toml.js';

export interface PolicyText {
  /** As it shall appear in messages. */
  readonly path: string;
  readonly text: string;
}

/** A file of digests. */
export interface ListText {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** What the files refer to. */
export interface Surroundings extends Names {
  /** The list of this name (NAME.list); undefined if there is none. Throws PolicyError if it may not be used. */
  listNamed?(name: string): ListText | undefined;
}

/** What the files say, while it is gathered. */
interface Draft {
  limits: { values: Limits; source: Source } | undefined;
  readonly repositories: Repository[];
  readonly rules: Rule[];
  readonly problems: Problem[];
  /** Each read once, however many rules name it. */
  readonly lists: Map<string, DigestList | undefined>;
  /** Repositories that rules name, and where. */
  readonly named: { path: string; source: Source }[];
}

/**
 * Makes one policy of all policy files, in the order given (by name). They hold together or not at all: with any problem in any of them a PolicyError
 * lists every problem found. No files, or files without rules, allow nothing.
 */
export function loadPolicy(files: readonly PolicyText[], surroundings: Surroundings): Policy {
  const draft: Draft = { limits: undefined, repositories: [], rules: [], problems: [], lists: new Map(), named: [] };
  for (const file of files) {
    try {
      addFile(draft, file, surroundings);
    } catch (error) {
      if (!(error instanceof PolicyError)) throw error;
      draft.problems.push(...error.problems);
    }
  }
  requireTrustedRepositories(draft);
  if (draft.problems.length > 0) throw new PolicyError(draft.problems);
  return { limits: draft.limits?.values ?? DEFAULT_LIMITS, repositories: draft.repositories, rules: draft.rules };
}

function addFile(draft: Draft, { path: file, text }: PolicyText, surroundings: Surroundings): void {
  const document = readToml(file, text);
  const content = requireSchema(file, document);
  const sourceOf = (path: Path): Source => ({ file, line: document.lineOf(path) });
  if (content.limits !== undefined) addLimits(draft, content.limits, sourceOf(['limits']));
  for (const [index, entry] of content.repository.entries()) {
    addRepository(draft, { ...entry, source: sourceOf(['repository', index]) });
  }
  for (const [index, entry] of content.rule.entries()) {
    addRule(draft, entry, (path) => sourceOf(['rule', index, ...path]), surroundings);
  }
}

function requireSchema(file: string, document: TomlDocument): PolicyFile {
  const result = policyFile.safeParse(document.value);
  if (result.success) return result.data;
  const problems: Problem[] = [];
  for (const issue of result.error.issues) {
    const path = issue.path.map((key) => (typeof key === 'number' ? key : String(key)));
    if (issue.code !== 'unrecognized_keys') problems.push({ file, line: document.lineOf(path), message: issue.message });
    else
      for (const key of issue.keys)
        problems.push({ file, line: document.lineOf([...path, key]), message: describeUnknownKey(key, knownKeys(path)) });
  }
  throw new PolicyError(problems.sort((a, b) => a.line - b.line));
}

function describeUnknownKey(key: string, known: readonly string[]): string {
  const meant = nearest(key, known);
  if (meant !== undefined) return `unknown key ${quote(key)}; did you mean ${quote(meant)}?`;
  return `unknown key ${quote(key)}; take it out, known here are ${known.join(', ')}`;
}

function addLimits(draft: Draft, limits: NonNullable<PolicyFile['limits']>, source: Source): void {
  if (draft.limits !== undefined) {
    draft.problems.push({ ...source, message: `[limits] stands already at ${at(draft.limits.source)}; keep one of the two` });
    return;
  }
  const values = {
    mountsPerUser: limits['mounts-per-user'] ?? DEFAULT_LIMITS.mountsPerUser,
    mountsPerMinute: limits['mounts-per-minute'] ?? DEFAULT_LIMITS.mountsPerMinute,
    mountsTotal: limits['mounts-total'] ?? DEFAULT_LIMITS.mountsTotal,
  };
  draft.limits = { values, source };
}

function addRepository(draft: Draft, repository: Repository): void {
  const earlier = draft.repositories.find((other) => other.path === repository.path);
  if (earlier === undefined) draft.repositories.push(repository);
  else
    draft.problems.push({
      ...repository.source,
      message: `repository ${quote(repository.path)} stands already at ${at(earlier.source)}; keep one of the two`,
    });
}

function addRule(draft: Draft, entry: RuleEntry, sourceOf: (path: Path) => Source, surroundings: Surroundings): void {
  const refuse = (path: Path, message: string): void =>
    void draft.problems.push({ ...sourceOf(path), message: `rule ${quote(entry.name)}: ${message}` });
  const earlier = draft.rules.find((other) => other.name === entry.name);
  if (earlier !== undefined) refuse([], `a rule of this name stands already at ${at(earlier.source)}; rename one of the two`);
  if (entry.repository !== undefined) draft.named.push({ path: entry.repository, source: sourceOf(['repository']) });
  const readList: EntryContext['readList'] = (name) => {
    if (!draft.lists.has(name)) draft.lists.set(name, readListNamed(draft, name, surroundings, refuse));
    return draft.lists.get(name);
  };
  draft.rules.push(readRule(entry, { names: surroundings, readList, sourceOf, refuse }));
}

function readListNamed(
  draft: Draft,
  name: string,
  { listNamed }: Surroundings,
  refuse: EntryContext['refuse'],
): DigestList | undefined {
  try {
    const text = listNamed?.(name);
    if (text !== undefined) return readDigestList(text.path, text.bytes);
    refuse(['digest-file'], `there is no file ${quote(name)} beside the policy files; create it, or take digest-file out`);
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error;
    draft.problems.push(...error.problems);
  }
  return undefined;
}

/** A name is worth no more than the right to change what it stands for. */
function requireTrustedRepositories({ named, repositories, problems }: Draft): void {
  for (const { path, source } of named) {
    if (repositories.some((repository) => repository.path === path && repository.objects === 'trusted')) continue;
    const mend = `write [[repository]] with path = ${quote(path)} and objects = "trusted"`;
    problems.push({ ...source, message: `names are believed only in a repository that root alone can write; ${mend}` });
  }
}

function at(source: Source): string {
  return `${source.file}:${source.line}`;
}
