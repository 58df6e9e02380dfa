import { parseVerityDigest, type VerityDigest } from '../core/image/digest.js';
import { FormatError } from '../core/image/format-error.js';
import { DEFAULT_MOUNTS_PER_USER, type Policy, type Repository, type Rule, type Source } from './policy.js';
import { type Problem, PolicyError, nearest, quote } from './problem.js';
import { type PolicyFile, type RuleEntry, knownKeys, policyFile } from './schema.js';
import { type Path, type TomlDocument, readToml } from './toml.js';

export interface PolicyText {
  /** As it shall appear in messages. */
  readonly path: string;
  readonly text: string;
}

/** How names of users and groups become host ids; undefined for a name nobody has. */
export interface Names {
  uidOf(name: string): number | undefined;
  gidOf(name: string): number | undefined;
}

/** What the files say, while it is gathered. */
interface Draft {
  limits: { mountsPerUser: number; source: Source } | undefined;
  readonly repositories: Repository[];
  readonly rules: Rule[];
  readonly problems: Problem[];
}

/**
 * Makes one policy of all policy files, in the order given (by name). They hold together or not at all: with any problem in any of them a PolicyError
 * lists every problem found. No files, or files without rules, allow nothing.
 */
export function loadPolicy(files: readonly PolicyText[], names: Names): Policy {
  const draft: Draft = { limits: undefined, repositories: [], rules: [], problems: [] };
  for (const file of files) {
    try {
      addFile(draft, file, names);
    } catch (error) {
      if (!(error instanceof PolicyError)) throw error;
      draft.problems.push(...error.problems);
    }
  }
  if (draft.problems.length > 0) throw new PolicyError(draft.problems);
  const mountsPerUser = draft.limits?.mountsPerUser ?? DEFAULT_MOUNTS_PER_USER;
  return { limits: { mountsPerUser }, repositories: draft.repositories, rules: draft.rules };
}

function addFile(draft: Draft, { path: file, text }: PolicyText, names: Names): void {
  const document = readToml(file, text);
  const content = requireSchema(file, document);
  const sourceOf = (path: Path): Source => ({ file, line: document.lineOf(path) });
  if (content.limits !== undefined) addLimits(draft, content.limits, sourceOf(['limits']));
  for (const [index, entry] of content.repository.entries()) {
    addRepository(draft, { ...entry, source: sourceOf(['repository', index]) });
  }
  for (const [index, entry] of content.rule.entries()) {
    addRule(draft, entry, (path) => sourceOf(['rule', index, ...path]), names);
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
  draft.limits = { mountsPerUser: limits['mounts-per-user'] ?? DEFAULT_MOUNTS_PER_USER, source };
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

function addRule(draft: Draft, entry: RuleEntry, sourceOf: (path: Path) => Source, names: Names): void {
  const refuse = (path: Path, message: string): void =>
    void draft.problems.push({ ...sourceOf(path), message: `rule ${quote(entry.name)}: ${message}` });
  const earlier = draft.rules.find((other) => other.name === entry.name);
  if (earlier !== undefined) refuse([], `a rule of this name stands already at ${at(earlier.source)}; rename one of the two`);
  draft.rules.push({
    name: entry.name,
    digests: readDigests(entry.digests, refuse),
    uids: readIds('user', entry.users, (name) => names.uidOf(name), refuse),
    gids: readIds('group', entry.groups, (name) => names.gidOf(name), refuse),
    nosuid: entry.nosuid,
    noexec: entry.noexec,
    devices: entry.devices,
    setuid: entry.setuid,
    fcaps: entry.fcaps,
    canonical: entry.canonical,
    source: sourceOf([]),
  });
}

function readDigests(texts: readonly string[], refuse: (path: Path, message: string) => void): Set<VerityDigest> {
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
  refuse: (path: Path, message: string) => void,
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

function at(source: Source): string {
  return `${source.file}:${source.line}`;
}
