// Who signed an image: the question of a rule that trusts signatures.
import { createHash, verify } from 'node:crypto';

import type { VerityDigest } from '../image/digest.js';
import { FormatError } from '../image/format-error.js';
import { formattedDigest } from '../image/verity-signature.js';
import type { Certificate } from './certificate.js';
import { type DetachedSignature, parseSignature } from './parse-signature.js';

/** The certificates an administrator trusts, each for itself: one that is signed by them is not trusted for that. */
export interface TrustedKeys {
  readonly certificates: readonly Certificate[];
  /** Fingerprints of certificates that are trusted no more. */
  readonly revoked: ReadonlySet<string>;
}

/**
 * The certificate in force whose key made this signature over this digest. `now` in milliseconds since 1970. Throws `FormatError` saying why there is none.
 */
export function verifySignature(signature: Uint8Array, digest: VerityDigest, keys: TrustedKeys, now: number): Certificate {
  const parsed = parseSignature(signature);
  requireKnown(parsed.certificates, keys);
  const signers = keys.certificates.filter(({ issuer, serial }) => issuer.equals(parsed.issuer) && serial.equals(parsed.serial));
  const [first, ...others] = signers;
  if (first === undefined)
    throw new FormatError('signer-unknown', 'no trusted certificate has the issuer and the serial number of the signer');
  // Two certificates of one number are of two authorities that have one name: the key tells.
  const signer = others.length === 0 ? first : (signers.find(({ key }) => isSignedBy(parsed, digest, key)) ?? first);
  requireInForce(signer, keys, now);
  requireScheme(parsed, signer);
  if (!isSignedBy(parsed, digest, signer.key))
    throw new FormatError('signature-wrong', `the signature is not of ${digest} by the key of ${signer.subject}, or is damaged`);
  return signer;
}

/** Certificates that come along prove nothing; one that is not known here is not passed over in silence. */
function requireKnown(certificates: readonly Buffer[], keys: TrustedKeys): void {
  const known = new Set(keys.certificates.map(({ fingerprint }) => fingerprint));
  if (certificates.every((certificate) => known.has(createHash('sha256').update(certificate).digest('hex')))) return;
  throw new FormatError(
    'certificate-embedded',
    'the signature brings a certificate that is not trusted; make it without (-nocerts)',
  );
}

/** Throws `FormatError` unless a certificate may be relied on now. */
export function requireInForce(certificate: Certificate, { revoked }: TrustedKeys, now: number): void {
  const { fingerprint, subject, notBefore, notAfter, unfitFor } = certificate;
  const refuse = (rule: string, why: string): never => {
    throw new FormatError(rule, `the certificate of ${subject} ${why}`);
  };
  if (revoked.has(fingerprint)) refuse('certificate-revoked', 'is revoked');
  if (now < notBefore) refuse('certificate-not-yet-valid', `is valid from ${formatTime(notBefore)} on`);
  if (!(now <= notAfter)) refuse('certificate-expired', `was valid until ${formatTime(notAfter)}`);
  if (unfitFor !== undefined) refuse('certificate-unfit', unfitFor);
}

const formatTime = (time: number): string => new Date(time).toISOString();

function requireScheme({ scheme }: DetachedSignature, { key, subject }: Certificate): void {
  if ((key.asymmetricKeyType === 'rsa') === (scheme === 'rsa')) return;
  throw new FormatError('signature-other-key', `the signature is of another kind than the key of ${subject}`);
}

function isSignedBy({ hash, value }: DetachedSignature, digest: VerityDigest, key: Certificate['key']): boolean {
  try {
    return verify(hash, formattedDigest(digest), key, value);
  } catch {
    return false; // an ECDSA value that is no pair of numbers
  }
}
