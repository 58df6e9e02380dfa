import type { VerityDigest } from '../core/image/digest.js';
import type { Caller, Policy, Rule, Source } from './policy.js';

export interface Allow {
  readonly verdict: 'allow';
  /** The first matching rule by name. */
  readonly rule: string;
  readonly nosuid: boolean;
  readonly noexec: boolean;
  readonly source: Source;
}

export interface Deny {
  readonly verdict: 'deny';
  /** For the caller: says nothing about rules that are not theirs. */
  readonly because: string;
  /** For the caller: what to ask the administrator for. */
  readonly hint: string;
  /** For the audit log and the administrator only: it names rules of other users. */
  readonly considered: readonly { readonly rule: string; readonly because: string }[];
}

export type Decision = Allow | Deny;

/**
 * May this caller mount the image with this digest, and with which restrictions? Depends on nothing but its arguments; the order of rules does not matter.
 * Several rules may match: then the restrictions of all of them hold, so that adding a rule never loosens what another demands. Root is a caller like any other.
 */
export function decide(policy: Policy, request: { readonly digest: VerityDigest }, caller: Caller): Decision {
  const matching = policy.rules.filter((rule) => rule.digests.has(request.digest) && appliesTo(rule, caller));
  const first = firstByName(matching);
  if (first === undefined) return deny(policy, request.digest, caller);
  return {
    verdict: 'allow',
    rule: first.name,
    nosuid: matching.some((rule) => rule.nosuid),
    noexec: matching.some((rule) => rule.noexec),
    source: first.source,
  };
}

/** The digests this caller may mount, sorted. */
export function allows(policy: Policy, caller: Caller): VerityDigest[] {
  const digests = new Set<VerityDigest>();
  for (const rule of policy.rules) {
    if (appliesTo(rule, caller)) for (const digest of rule.digests) digests.add(digest);
  }
  return [...digests].sort(compareText);
}

function appliesTo(rule: Rule, caller: Caller): boolean {
  if (rule.uids === null && rule.gids === null) return true;
  if (rule.uids?.has(caller.uid) === true) return true;
  // A rule names a few groups, a caller may be in 65,536.
  return rule.gids !== null && [...rule.gids].some((gid) => caller.gids.includes(gid));
}

function firstByName(rules: readonly Rule[]): Rule | undefined {
  return [...rules].sort((a, b) => compareText(a.name, b.name))[0];
}

/** By code unit: the same order on every host, whatever its locale. */
function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function deny(policy: Policy, digest: VerityDigest, caller: Caller): Deny {
  const considered = policy.rules
    .map((rule) => ({ rule: rule.name, because: whyNot(rule, digest, caller) }))
    .sort((a, b) => compareText(a.rule, b.rule));
  return {
    verdict: 'deny',
    because: `digest ${digest} is not trusted for uid ${caller.uid}`,
    hint: `ask the administrator to trust it in a file of policy.d:\n\n${ruleToAskFor(digest, caller.uid)}`,
    considered,
  };
}

function whyNot(rule: Rule, digest: VerityDigest, caller: Caller): string {
  const lacksDigest = !rule.digests.has(digest);
  const notTheirs = !appliesTo(rule, caller);
  if (lacksDigest && notTheirs) return 'neither lists the digest nor applies to the caller';
  return lacksDigest ? 'does not list the digest' : 'does not apply to the caller';
}

function ruleToAskFor(digest: VerityDigest, uid: number): string {
  return [
    '[[rule]]',
    `name = "image ${digest.slice(0, 'sha256:'.length + 12)} for uid ${uid}"`,
    `digests = ["${digest}"]`,
    `users = [${uid}]`,
  ].join('\n');
}
