// Trust taken back: live mounts go on, since nobody can take a mount from who has it, and are named.
import type { VerityDigest } from '../core/image/digest.js';
import { isInForce } from '../core/signature/verify.js';
import { findTrust } from '../policy/decide.js';
import type { Caller, FoundName } from '../policy/policy.js';
import type { LiveMount } from './live-mount.js';
import type { LoadedPolicy } from './policy-files.js';
import { listImages } from './repositories.js';
import { asksForSigners, findSigners } from './signatures.js';

/** The names that images have now in repositories which rules believe. */
function namesByDigest({ policy, repositories }: LoadedPolicy): ReadonlyMap<VerityDigest, readonly FoundName[]> {
  const believed = new Set(policy.rules.flatMap(({ repository }) => repository?.path ?? []));
  const names = new Map<VerityDigest, FoundName[]>();
  for (const { repository, name, claimed } of repositories.filter(({ path }) => believed.has(path)).flatMap(listImages)) {
    if (name !== '') names.set(claimed, [...(names.get(claimed) ?? []), { repository: repository.path, name }]);
  }
  return names;
}

/** Who vouches for a digest today: by the signatures in the repositories, and by the one the caller had brought if its certificate is still in force. */
function signersNow(loaded: LoadedPolicy, digest: VerityDigest, signer: string | undefined, now: number): readonly string[] {
  if (!asksForSigners(loaded)) return [];
  const { signedBy = [] } = findSigners(loaded, digest, {});
  return signer !== undefined && isInForce(signer, loaded.keys, now) ? [...signedBy, signer] : signedBy;
}

/**
 * The mounts whose digest no rule trusts any more for their user: by the groups that the host says the user is in, and by the names the digest has now. `now` in
 * milliseconds since 1970.
 */
export function findUntrusted(loaded: LoadedPolicy, mounts: readonly LiveMount[], now: number): LiveMount[] {
  if (mounts.length === 0) return [];
  const names = namesByDigest(loaded);
  const asksGroups = loaded.policy.rules.some(({ gids }) => gids !== null);
  const groupsOf = (user: number): readonly number[] => (asksGroups ? loaded.groupsOf(user) : []);
  return mounts.filter(({ digest, uid, payer, signer }) => {
    const signedBy = signersNow(loaded, digest, signer, now);
    const caller: Caller = { uid, gids: groupsOf(uid), behind: { uid: payer, gids: groupsOf(payer) } };
    const found = [undefined, ...(names.get(digest) ?? [])];
    return !found.some((name) => findTrust(loaded.policy, { digest, found: name, signedBy }, caller, now).verdict === 'trusted');
  });
}
