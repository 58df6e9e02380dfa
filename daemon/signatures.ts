// Who signed an image, as far as signatures are at hand: the one the caller brings, and those of the repositories.
import { createHash } from 'node:crypto';

import type { VerityDigest } from '../core/image/digest.js';
import { FormatError } from '../core/image/format-error.js';
import type { Certificate } from '../core/signature/certificate.js';
import { findSigner, requireInForce, type TrustedKeys } from '../core/signature/verify.js';
import type { ImageOptions } from '../core/wire/requests.js';
import type { KnownImage } from '../policy/policy.js';
import type { LoadedPolicy } from './policy-files.js';
import { readSignature } from './repositories.js';

/** What a rule about signatures is told. */
export type SignatureFacts = Pick<KnownImage, 'signedBy' | 'signatureProblem'>;

type Signature = Uint8Array | undefined;

/** Whether any rule asks who signed an image: else nobody has to look. */
export function asksForSigners({ policy }: LoadedPolicy): boolean {
  return policy.rules.some(({ signature }) => signature !== null);
}

/** Looks at every signature there is; one that is broken takes nothing from the others. */
export function findSigners(
  loaded: LoadedPolicy,
  digest: VerityDigest,
  { signature }: Pick<ImageOptions, 'signature'>,
): SignatureFacts {
  const { keys, repositories } = loaded;
  const signedBy = new Set<string>();
  const problems: string[] = [];
  const look = (one: Signature): void => {
    if (one === undefined) return;
    try {
      const signer = findSignerOnce(one, digest, keys);
      requireInForce(signer, keys, Date.now());
      signedBy.add(signer.fingerprint);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      problems.push(error.message);
    }
  };
  look(signature);
  for (const repository of repositories) look(readSignature(repository, digest));
  const [signatureProblem] = problems;
  return { signedBy: [...signedBy], ...(signatureProblem === undefined ? {} : { signatureProblem }) };
}

/** Most signatures of one set of certificates whose outcome is kept, some hundred bytes each. */
const MAX_KEPT = 8192;
const kept = new WeakMap<TrustedKeys, Map<string, Certificate | FormatError>>();

/** As findSigner: a call asks several times, and whoever lists all images asks of each; it is verified once. */
function findSignerOnce(signature: Uint8Array, digest: VerityDigest, keys: TrustedKeys): Certificate {
  const outcomes = kept.get(keys) ?? new Map<string, Certificate | FormatError>();
  kept.set(keys, outcomes);
  const key = `${digest} ${createHash('sha256').update(signature).digest('base64')}`;
  const outcome = outcomes.get(key) ?? outcomeOf(() => findSigner(signature, digest, keys));
  if (outcomes.size >= MAX_KEPT) outcomes.clear();
  outcomes.set(key, outcome);
  if (outcome instanceof FormatError) throw outcome;
  return outcome;
}

function outcomeOf(find: () => Certificate): Certificate | FormatError {
  try {
    return find();
  } catch (error) {
    if (error instanceof FormatError) return error;
    throw error;
  }
}
