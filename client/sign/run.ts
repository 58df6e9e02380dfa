// cfsctl sign and verify-signature. They need no service.
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import type { VerityAlgorithm, VerityDigest } from '../../core/image/digest.js';
import { FormatError } from '../../core/image/format-error.js';
import { readAt } from '../../core/kernel/file.js';
import { statFd } from '../../core/kernel/stat.js';
import { type Certificate, MAX_CERTIFICATE_BYTES, parseCertificate } from '../../core/signature/certificate.js';
import { parseDer } from '../../core/signature/der.js';
import { makeSignature } from '../../core/signature/make-signature.js';
import { type TrustedKeys, requireInForce, verifySignature } from '../../core/signature/verify.js';
import { RequestError } from '../../core/wire/errors.js';
import { SIGNATURE_ENDING, openRegularFile, readSignature } from '../image.js';
import { hashFile } from '../inspect/hash-file.js';
import { formatFields, formatIsoTime, formatJson, formatTime, print } from '../output.js';
import { showProgress } from '../progress.js';
import { readServiceKeys } from './service-keys.js';
import { writeImageFile } from '../store/write-image-file.js';

interface SignOptions {
  readonly key: string;
  readonly cert: string;
  readonly algorithm: VerityAlgorithm;
  readonly json: boolean;
}

export function runSign(image: string, { key: keyPath, cert, algorithm, json }: SignOptions): void {
  const certificate = readCertificate(cert);
  const key = readPrivateKey(keyPath);
  if (!createPublicKey(key).equals(certificate.key))
    throw new RequestError('BadRequest', `the key ${keyPath} is not the one of the certificate ${cert}`);
  // One that nobody would take helps nobody.
  orRefuse('BadRequest', undefined, () => requireInForce(certificate, { certificates: [], revoked: new Set() }, Date.now()));
  const [digest] = digestsOf(image, [algorithm]);
  const signature = `${image}${SIGNATURE_ENDING}`;
  writeImageFile(signature, makeSignature(digest!, key, certificate), 'signature');
  const { fingerprint } = certificate;
  print(
    json
      ? formatJson({ digest, signature, fingerprint })
      : formatFields(Object.entries({ digest: digest!, signature, fingerprint })),
  );
}

interface VerifyOptions {
  readonly signature?: string;
  readonly cert?: readonly string[];
  readonly json: boolean;
}

export function runVerifySignature(image: string, { signature: path, cert, json }: VerifyOptions): void {
  const signature = readDer(path ?? `${image}${SIGNATURE_ENDING}`);
  const keys = cert === undefined ? readServiceKeys() : { certificates: cert.map(readCertificate), revoked: new Set<string>() };
  const digests = digestsOf(image, ['sha256', 'sha512']);
  const { digest, signer } = findSigner(signature, digests, keys);
  const { fingerprint, subject, notAfter } = signer;
  if (json) return print(formatJson({ digest, fingerprint, subject, notAfter: formatIsoTime(notAfter) }));
  print(
    formatFields([
      ['signed by', subject],
      ['fingerprint', fingerprint],
      ['valid until', formatTime(notAfter)],
      ['digest', digest],
    ]),
  );
}

/** Says of a file that is no signature at all that it is none, rather than what is wrong with it as one. */
function readDer(path: string): Uint8Array {
  const bytes = readSignature(path);
  try {
    parseDer(bytes);
    return bytes;
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause;
    throw new RequestError('BadRequest', `${path} is not a signature (PKCS#7 in DER): ${cause.message}`, { cause });
  }
}

interface Signed {
  readonly digest: VerityDigest;
  readonly signer: Certificate;
}

/** The digest that was signed may be of either algorithm, and only the right key tells which. */
function findSigner(signature: Uint8Array, [first, ...others]: readonly VerityDigest[], keys: TrustedKeys): Signed {
  const verify = (digest: VerityDigest): Signed => ({ digest, signer: verifySignature(signature, digest, keys, Date.now()) });
  for (const digest of others) {
    try {
      return verify(digest);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
    }
  }
  return orRefuse('NotTrusted', undefined, () => verify(first!));
}

function digestsOf(image: string, algorithms: readonly VerityAlgorithm[]): VerityDigest[] {
  using file = openRegularFile(image, undefined);
  using progress = showProgress('hashing', statFd(file).size);
  return Object.values(hashFile(file, algorithms, progress).digests);
}

function readCertificate(path: string): Certificate {
  return orRefuse('BadRequest', path, () => parseCertificate(readSmallFile(path, 'certificate')));
}

function readPrivateKey(path: string): KeyObject {
  try {
    return createPrivateKey(readSmallFile(path, 'key'));
  } catch (cause) {
    if (cause instanceof RequestError) throw cause;
    throw new RequestError('BadRequest', `the key ${path} is not a private key in PEM without a passphrase`, { cause });
  }
}

function readSmallFile(path: string, what: string): Buffer {
  using file = openRegularFile(path, undefined, what);
  const bytes = Buffer.alloc(MAX_CERTIFICATE_BYTES + 1);
  return bytes.subarray(0, readAt(file, bytes, 0));
}

/** A fault in the form of something, as an error for people; `path` says in what. */
function orRefuse<T>(code: 'BadRequest' | 'NotTrusted', path: string | undefined, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause;
    throw new RequestError(code, path === undefined ? cause.message : `${path}: ${cause.message}`, { cause });
  }
}
