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
  const signer = findSigner(signature, digest, keys);
  requireInForce(signer, keys, now);
  return signer;
}

/** The certificate whose key made this signature over this digest, in force or not: that changes by the hour. Throws `FormatError` saying why there is none. */
export function findSigner(signature: Uint8Array, digest: VerityDigest, { certificates }: TrustedKeys): Certificate {
  const parsed = parseSignature(signature);
  requireKnown(parsed.certificates, certificates);
  const signers = certificates.filter(({ issuer, serial }) => issuer.equals(parsed.issuer) && serial.equals(parsed.serial));
  const [first] = signers;
  if (first === undefined)
    throw new FormatError('signer-unknown', 'no trusted certificate has the issuer and the serial number of the signer');
  // Two certificates of one number are of two authorities that have one name: the key tells.
  const signer = signers.find((one) => isSignedBy(parsed, digest, one));
  if (signer !== undefined) return signer;
  requireScheme(parsed, first);
  throw new FormatError('signature-wrong', `the signature is not of ${digest} by the key of ${first.subject}, or is damaged`);
}

/** Certificates that come along prove nothing; one that is not known here is not passed over in silence. */
function requireKnown(certificates: readonly Buffer[], trusted: readonly Certificate[]): void {
  const known = new Set(trusted.map(({ fingerprint }) => fingerprint));
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

/** Whether a certificate of this fingerprint may be relied on now. */
export function isInForce(fingerprint: string, keys: TrustedKeys, now: number): boolean {
  const { certificates, revoked } = keys;
  return certificates.some(
    (one) => one.fingerprint === fingerprint && !revoked.has(fingerprint) && one.notBefore <= now && now <= one.notAfter,
  );
}

const formatTime = (time: number): string => new Date(time).toISOString();

function requireScheme({ scheme }: DetachedSignature, { key, subject }: Certificate): void {
  if ((key.asymmetricKeyType === 'rsa') === (scheme === 'rsa')) return;
  throw new FormatError('signature-other-key', `the signature is of another kind than the key of ${subject}`);
}

function isSignedBy({ hash, scheme, value }: DetachedSignature, digest: VerityDigest, { key }: Certificate): boolean {
  if ((key.asymmetricKeyType === 'rsa') !== (scheme === 'rsa')) return false;
  try {
    return verify(hash, formattedDigest(digest), key, value);
  } catch {
    return false; // an ECDSA value that is no pair of numbers
  }
}
