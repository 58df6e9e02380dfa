import type { VerityDigest } from '../core/image/digest.js';
import { describeViolation } from './conditions.js';
import type { Caller, Contents, Policy, Rule, Source } from './policy.js';

export interface Allow {
  readonly verdict: 'allow';
  /** The first by name of the rules that allow it. */
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

/** The digest is trusted for the caller; what is in the image may still speak against it. */
export interface Trust {
  readonly verdict: 'trusted';
  /** The first by name of the rules that name the digest and apply to the caller. */
  readonly rule: string;
  /** One of these rules asks whether the image is canonical, which takes longest to find out. */
  readonly asksCanonical: boolean;
}

/**
 * May this caller mount the image with this digest and these contents, and with which restrictions? Depends on nothing but its arguments; the order of rules does not
 * matter. A rule matches if it names the digest and applies to the caller; it allows the image if its conditions on the contents hold, too. One rule that allows is
 * enough, but the restrictions of all that match hold, so that adding a rule never loosens what another demands. Root is a caller like any other.
 */
export function decide(
  policy: Policy,
  request: { readonly digest: VerityDigest; readonly contents: Contents },
  caller: Caller,
): Decision {
  const matching = findMatching(policy, request.digest, caller);
  const first = firstByName(matching.filter((rule) => describeViolation(rule, request.contents, '') === undefined));
  if (first === undefined) return deny(policy, request, caller);
  return {
    verdict: 'allow',
    rule: first.name,
    nosuid: matching.some((rule) => rule.nosuid),
    noexec: matching.some((rule) => rule.noexec),
    source: first.source,
  };
}

/** Does any rule name this digest for this caller? To be asked before anything is done with the image, and never instead of `decide`. */
export function findTrust(policy: Policy, digest: VerityDigest, caller: Caller): Trust | Deny {
  const matching = findMatching(policy, digest, caller);
  const first = firstByName(matching);
  if (first === undefined) return deny(policy, { digest, contents: undefined }, caller);
  return { verdict: 'trusted', rule: first.name, asksCanonical: matching.some(({ canonical }) => canonical === 'deny') };
}

/** The digests this caller may mount as far as digests go, sorted. */
export function allows(policy: Policy, caller: Caller): VerityDigest[] {
  const digests = new Set<VerityDigest>();
  for (const rule of policy.rules) {
    if (appliesTo(rule, caller)) for (const digest of rule.digests) digests.add(digest);
  }
  return [...digests].sort(compareText);
}

function findMatching(policy: Policy, digest: VerityDigest, caller: Caller): Rule[] {
  return policy.rules.filter((rule) => rule.digests.has(digest) && appliesTo(rule, caller));
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

interface Refused {
  readonly digest: VerityDigest;
  /** Undefined when the digest alone was refused. */
  readonly contents: Contents | undefined;
}

function deny(policy: Policy, refused: Refused, caller: Caller): Deny {
  const considered = policy.rules
    .map((rule) => ({ rule: rule.name, because: whyNot(rule, refused, caller) }))
    .sort((a, b) => compareText(a.rule, b.rule));
  return { verdict: 'deny', ...explain(policy, refused, caller), considered };
}

/** For the caller, who may know of rules that match. */
function explain(policy: Policy, { digest, contents }: Refused, caller: Caller): Pick<Deny, 'because' | 'hint'> {
  const rule = firstByName(findMatching(policy, digest, caller));
  const violation = rule && contents && describeViolation(rule, contents, `rule "${rule.name}"`);
  if (violation !== undefined)
    return { because: violation, hint: 'use an image without them, or ask the administrator to allow them in that rule' };
  return {
    because: `digest ${digest} is not trusted for uid ${caller.uid}`,
    hint: `ask the administrator to trust it in a file of policy.d:\n\n${ruleToAskFor(digest, caller.uid)}`,
  };
}

function whyNot(rule: Rule, { digest, contents }: Refused, caller: Caller): string {
  const lacksDigest = !rule.digests.has(digest);
  const notTheirs = !appliesTo(rule, caller);
  if (lacksDigest && notTheirs) return 'neither lists the digest nor applies to the caller';
  if (lacksDigest) return 'does not list the digest';
  const violation = notTheirs || contents === undefined ? undefined : describeViolation(rule, contents, 'the rule');
  return violation ?? 'does not apply to the caller';
}

function ruleToAskFor(digest: VerityDigest, uid: number): string {
  return [
    '[[rule]]',
    `name = "image ${digest.slice(0, 'sha256:'.length + 12)} for uid ${uid}"`,
    `digests = ["${digest}"]`,
    `users = [${uid}]`,
  ].join('\n');
}
