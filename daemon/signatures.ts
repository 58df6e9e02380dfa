// Who signed an image, as far as signatures are at hand: the one the caller brings, and those of the repositories.
import type { VerityDigest } from '../core/image/digest.js';
import { FormatError } from '../core/image/format-error.js';
import { type TrustedKeys, verifySignature } from '../core/signature/verify.js';
import { readSignature, type Repository } from './repositories.js';

/** What a rule about signatures is told. */
export interface SignatureFacts {
  /** SHA-256 fingerprints, in lower-case hex digits, of certificates in force whose signature over the digest was verified. */
  readonly signedBy: readonly string[];
  /** Why a signature that is there counts for nothing; absent if there is none, or all count. */
  readonly signatureProblem?: string;
}

export interface SignedImage {
  /** Of the image as it was measured. */
  readonly digest: VerityDigest;
  readonly repositories: readonly Repository[];
}

/** Looks at every signature there is; one that is broken takes nothing from the others. */
export function findSigners(
  { digest, repositories }: SignedImage,
  brought: Uint8Array | undefined,
  keys: TrustedKeys,
): SignatureFacts {
  const stored = repositories.map((repository) => readSignature(repository, digest));
  const signedBy = new Set<string>();
  let signatureProblem: string | undefined;
  for (const signature of [brought, ...stored]) {
    if (signature === undefined) continue;
    try {
      signedBy.add(verifySignature(signature, digest, keys, Date.now()).fingerprint);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      signatureProblem ??= error.message;
    }
  }
  return { signedBy: [...signedBy], ...(signatureProblem === undefined ? {} : { signatureProblem }) };
}
