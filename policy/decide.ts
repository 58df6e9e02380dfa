import type { VerityAlgorithm, VerityDigest } from '../core/image/digest.js';
import { digestAlgorithm } from '../core/image/digest.js';
import { describeViolation } from './conditions.js';
import { appliesTo, matches, namesDigests, whyNotFor, whyNotNow } from './matching.js';
import type { Caller, Contents, JudgedImage, KnownImage, Policy, Rule } from './policy.js';
import type { Source } from './problem.js';

interface Grant {
  /** The first by name of the rules that allow it. */
  readonly rule: string;
  readonly nosuid: boolean;
  readonly noexec: boolean;
  readonly source: Source;
}

export interface Allow extends Grant {
  readonly verdict: 'allow';
}

/** Allowed once polkit grants the action; no rule allows it outright. */
export interface Ask extends Grant {
  readonly verdict: 'ask';
  readonly action: string;
}

/** What one rule says of an image. */
export interface Considered {
  readonly rule: string;
  readonly because: string;
}

export interface Deny {
  readonly verdict: 'deny';
  /** For the caller: says nothing about rules that are not theirs. */
  readonly because: string;
  /** For the caller: what to ask the administrator for. */
  readonly hint: string;
  /** For the audit log and the administrator only: it names rules of other users. */
  readonly considered: readonly Considered[];
}

export type Decision = Allow | Ask | Deny;

/** The digest is trusted for the caller; what is in the image may still speak against it. */
export interface Trust {
  readonly verdict: 'trusted';
  /** The first by name of the rules that trust it, of those that ask nobody else if there are any. */
  readonly rule: string;
  /** One of these rules asks whether the image is canonical, which takes longest to find out. */
  readonly asksCanonical: boolean;
}

/**
 * May this caller mount this image, and with which restrictions? Depends on nothing but its arguments (`now`: milliseconds since 1970); the order of rules does not
 * matter. A rule matches if it is for the image and for the caller, and in force; it allows the image if its conditions on the contents hold, too. One rule that
 * denies is enough, then one that allows; but the restrictions of all that match hold, so that adding a rule never loosens what another demands. Root is a caller
 * like any other.
 */
export function decide(policy: Policy, image: JudgedImage, caller: Caller, now: number): Decision {
  const matching = findMatching(policy, image, caller, now);
  if (matching.some((rule) => rule.deny)) return deny(policy, image, caller, now);
  const first = firstToAllow(matching.filter((rule) => describeViolation(rule, image.contents, '') === undefined));
  if (first === undefined) return deny(policy, image, caller, now);
  const grant: Grant = {
    rule: first.name,
    nosuid: matching.some((rule) => rule.nosuid),
    noexec: matching.some((rule) => rule.noexec),
    source: first.source,
  };
  return first.polkit === null ? { verdict: 'allow', ...grant } : { verdict: 'ask', action: first.polkit, ...grant };
}

/** Does any rule trust this image for this caller, and none deny it? To be asked before anything is done with the image, and never instead of `decide`. */
export function findTrust(policy: Policy, image: KnownImage, caller: Caller, now: number): Trust | Deny {
  const matching = findMatching(policy, image, caller, now);
  const first = matching.some((rule) => rule.deny) ? undefined : firstToAllow(matching);
  if (first === undefined) return deny(policy, image, caller, now);
  return { verdict: 'trusted', rule: first.name, asksCanonical: matching.some(({ canonical }) => canonical === 'deny') };
}

/**
 * The hash algorithms by which some rule in force could come to trust an image for this caller, sorted; none if no rule could. Rules for names count only for images
 * that the service looks up by name.
 */
export function usefulAlgorithms(policy: Policy, caller: Caller, now: number, byName: boolean): VerityAlgorithm[] {
  const useful = new Set<VerityAlgorithm>();
  for (const rule of policy.rules) {
    const inForce = (rule.notBefore ?? -Infinity) <= now && now <= (rule.notAfter ?? Infinity);
    if (rule.deny || !inForce || !appliesTo(rule, caller) || (rule.repository !== null && !byName)) continue;
    for (const algorithm of algorithmsOf(rule)) useful.add(algorithm);
  }
  return [...useful].sort();
}

/** Every rule, by name, and what it says of the image. `contents` undefined: as far as can be told without. */
export function considerRules(
  policy: Policy,
  image: KnownImage & { readonly contents?: Contents },
  caller: Caller,
  now: number,
): Considered[] {
  return [...policy.rules].sort(byName).map((rule) => ({ rule: rule.name, because: describe(rule, image, caller, now) }));
}

function algorithmsOf(rule: Rule): Iterable<VerityAlgorithm> {
  if (!namesDigests(rule)) return ['sha256', 'sha512'];
  return [...new Set([...rule.digests].map((digest: VerityDigest) => digestAlgorithm(digest))), ...(rule.list?.algorithms ?? [])];
}

function findMatching(policy: Policy, image: KnownImage, caller: Caller, now: number): Rule[] {
  return policy.rules.filter((rule) => matches(rule, image, caller, now));
}

/** The first by name, of those that ask nobody else if there are any. */
function firstToAllow(rules: readonly Rule[]): Rule | undefined {
  const outright = rules.filter((rule) => rule.polkit === null);
  return (outright.length > 0 ? outright : [...rules]).sort(byName)[0];
}

/** By code unit: the same order on every host, whatever its locale. */
function byName({ name: a }: Rule, { name: b }: Rule): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Without contents when the image was refused before it was read. */
type Refused = KnownImage & { readonly contents?: Contents };

function deny(policy: Policy, image: Refused, caller: Caller, now: number): Deny {
  const considered = considerRules(policy, image, caller, now);
  return { verdict: 'deny', ...explain(policy, image, caller, now), considered };
}

/** For the caller, who may know of rules that are for them and their image. */
function explain(policy: Policy, image: Refused, caller: Caller, now: number): Pick<Deny, 'because' | 'hint'> {
  const forThem = policy.rules.filter((rule) => whyNotFor(rule, image, caller).next().done === true).sort(byName);
  const matching = forThem.filter((rule) => matches(rule, image, caller, now));
  const denying = matching.find((rule) => rule.deny);
  if (denying !== undefined) return { because: `rule "${denying.name}" denies the image`, hint: 'ask the administrator' };
  const [rule] = matching;
  const violation = rule && image.contents && describeViolation(rule, image.contents, `rule "${rule.name}"`);
  if (violation !== undefined)
    return { because: violation, hint: 'use an image without them, or ask the administrator to allow them in that rule' };
  const near = forThem.find((one) => !one.deny);
  const reasons = near === undefined ? '' : `: rule "${near.name}" ${[...whyNotNow(near, image, now)].join(' and ')}`;
  return {
    because: `digest ${image.digest} is not trusted for uid ${caller.uid}${reasons}`,
    hint: `ask the administrator to trust it in a file of policy.d:\n\n${ruleToAskFor(image.digest, caller.uid)}`,
  };
}

function describe(rule: Rule, image: Refused, caller: Caller, now: number): string {
  const reasons = [...whyNotFor(rule, image, caller), ...whyNotNow(rule, image, now)];
  if (reasons.length > 0) return reasons.join(' and ');
  if (rule.deny) return 'denies the image';
  if (image.contents === undefined) return 'trusts the digest';
  const violation = describeViolation(rule, image.contents, 'the rule');
  return violation ?? (rule.polkit === null ? 'allows the image' : `allows the image if polkit grants ${rule.polkit}`);
}

function ruleToAskFor(digest: VerityDigest, uid: number): string {
  return [
    '[[rule]]',
    `name = "image ${digest.slice(0, 'sha256:'.length + 12)} for uid ${uid}"`,
    `digests = ["${digest}"]`,
    `users = [${uid}]`,
  ].join('\n');
}
