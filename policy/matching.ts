// Whom and what a rule is for, as reasons why not: a rule that has none matches.
import type { VerityDigest } from '../core/image/digest.js';
import { matchesName } from './name-pattern.js';
import type { Caller, KnownImage, NameCondition, Rule, SignatureCondition } from './policy.js';

export function matches(rule: Rule, image: KnownImage, caller: Caller, now: number): boolean {
  return isNone(whyNotFor(rule, image, caller)) && isNone(whyNotNow(rule, image, now));
}

function isNone(reasons: Generator<string>): boolean {
  return reasons.next().done === true;
}

/** True if the rule says which digests it is for. */
export function namesDigests({ digests, list }: Rule): boolean {
  return digests.size > 0 || list !== null;
}

/** Why the rule is not about this image and this caller at all. */
export function* whyNotFor(rule: Rule, { digest, found }: KnownImage, caller: Caller): Generator<string> {
  if (namesDigests(rule) && !lists(rule, digest)) yield 'does not list the digest';
  if (rule.repository !== null) {
    if (found === undefined) yield `is for images found by name in ${rule.repository.path}`;
    else if (!includesName(rule.repository, found)) yield `is not for the name "${found.name}" in ${found.repository}`;
  }
  if (!appliesTo(rule, caller)) yield 'does not apply to the caller';
}

/** Why a rule that is for both does not hold: it may on another day, or with a signature. */
export function* whyNotNow(rule: Rule, image: KnownImage, now: number): Generator<string> {
  if (rule.notBefore !== null && now < rule.notBefore) yield `is not valid before ${formatTime(rule.notBefore)}`;
  if (rule.notAfter !== null && now > rule.notAfter) yield `is not valid after ${formatTime(rule.notAfter)}`;
  if (rule.signature !== null && !isSigned(rule.signature, image)) {
    const problem = image.signatureProblem ?? (image.signedBy?.length ? 'it has others' : 'it has none');
    yield `asks for a signature by ${rule.signature.signers ? 'one of its signers' : 'a trusted certificate'}: ${problem}`;
  }
}

export function appliesTo(rule: Rule, caller: Caller): boolean {
  if (rule.uids === null && rule.gids === null) return true;
  return names(rule, caller) || (rule.deny && caller.behind !== undefined && names(rule, caller.behind));
}

function names(rule: Rule, caller: Pick<Caller, 'uid' | 'gids'>): boolean {
  if (rule.uids?.has(caller.uid) === true) return true;
  // A rule names a few groups, a caller may be in 65,536.
  return rule.gids !== null && [...rule.gids].some((gid) => caller.gids.includes(gid));
}

function lists({ digests, list }: Rule, digest: VerityDigest): boolean {
  return digests.has(digest) || list?.has(digest) === true;
}

function includesName({ path, names }: NameCondition, found: { repository: string; name: string }): boolean {
  return found.repository === path && (names === null || names.some((pattern) => matchesName(pattern, found.name)));
}

function isSigned({ signers }: SignatureCondition, { signedBy = [] }: KnownImage): boolean {
  return signers === null ? signedBy.length > 0 : signedBy.some((fingerprint) => signers.has(fingerprint));
}

function formatTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace('.000Z', 'Z');
}
