// The one form of PKCS#7 that is taken (RFC 5652): SignedData over detached data with one signer, named by issuer and serial number, without attributes. `fsverity sign`
// makes no other. The kernel also takes signed attributes, several signers, chains of certificates and key identifiers; each would be one more way to say what is signed by whom.
import { MAX_SIGNATURE_BYTES } from '../image/verity-signature.js';
import { FormatError } from '../image/format-error.js';
import { DATA, ECDSA, HASHES, type HashName, RSA_ENCRYPTION, type Scheme, SIGNED_DATA, WEAK_HASHES } from './algorithms.js';
import {
  childrenOf,
  contextTag,
  type Element,
  INTEGER,
  NULL,
  OCTET_STRING,
  oidOf,
  parseDer,
  SEQUENCE,
  SET,
  tagOf,
  valueOf,
  versionOf,
  writeDer,
} from './der.js';

export interface DetachedSignature {
  /** The encoded name and number by which the signer's certificate is found. */
  readonly issuer: Buffer;
  readonly serial: Buffer;
  readonly hash: HashName;
  readonly scheme: Scheme;
  readonly value: Buffer;
  /** Certificates that came along, encoded. */
  readonly certificates: readonly Buffer[];
}

/** Throws `FormatError` for whatever is not of this form; nothing is verified yet. */
export function parseSignature(bytes: Uint8Array): DetachedSignature {
  if (bytes.length > MAX_SIGNATURE_BYTES)
    throw new FormatError(
      'signature-too-long',
      `the signature has ${bytes.length} bytes; at most ${MAX_SIGNATURE_BYTES} are read`,
    );
  const [type, content] = childrenOf(parseDer(bytes), SEQUENCE, 'the outermost element', 2);
  if (oidOf(type, 'the content type') !== SIGNED_DATA)
    throw new FormatError('signature-not-signed-data', 'this is a PKCS#7 message, but no signature');
  const [signedData] = childrenOf(content, contextTag(0), 'the content', 1);
  return readSignedData(childrenOf(signedData, SEQUENCE, 'SignedData', 4, 6));
}

function readSignedData([version, hashes, encapsulated, ...rest]: readonly Element[]): DetachedSignature {
  if (versionOf(version, 'the version of SignedData') !== 1)
    throw new FormatError('signature-version', 'SignedData has another version than 1');
  requireDetachedData(childrenOf(encapsulated, SEQUENCE, 'the encapsulated content', 1, 2));
  const certificates = rest[0] && tagOf(rest[0]) === contextTag(0) ? (rest.shift()?.subs ?? []) : [];
  if (rest[0] && tagOf(rest[0]) === contextTag(1))
    throw new FormatError('signature-crls', 'the signature brings revocation lists');
  const signers = childrenOf(rest.shift(), SET, 'the list of signers', 0, Infinity);
  if (rest.length > 0) throw new FormatError('signature-shape', 'SignedData goes on behind its signers');
  if (signers.length !== 1)
    throw new FormatError('signature-signers', `the signature has ${signers.length} signers; it must have one`);
  const signature = readSigner(signers[0]);
  requireSameHash(childrenOf(hashes, SET, 'the list of hashes', 1), signature.hash);
  return { ...signature, certificates: certificates.map((certificate) => writeDer(tagOf(certificate), certificate.value)) };
}

function requireDetachedData([type, content]: readonly Element[]): void {
  if (oidOf(type, 'the type of the data') !== DATA)
    throw new FormatError('signature-content-type', 'what is signed is not said to be plain data');
  if (content !== undefined)
    throw new FormatError('signature-not-detached', 'the signature brings its own data; it must be detached');
}

function requireSameHash([algorithm]: readonly Element[], hash: HashName): void {
  if (readHash(algorithm) !== hash)
    throw new FormatError('signature-hashes', 'the hash of the signer is not the one of the list');
}

function readSigner(signer: Element | undefined): Omit<DetachedSignature, 'certificates'> {
  const [version, who, hash, ...rest] = childrenOf(signer, SEQUENCE, 'the signer', 5, 7);
  if (versionOf(version, 'the version of the signer') !== 1)
    throw new FormatError('signer-version', 'the signer is not named by issuer and serial number');
  if (rest[0] && tagOf(rest[0]) === contextTag(0))
    throw new FormatError('signature-attributes', 'the signature has signed attributes; make it without (openssl: -noattr)');
  const [issuer, serial] = childrenOf(who, SEQUENCE, 'issuer and serial number', 2);
  const [scheme, value, unsigned] = rest;
  if (unsigned !== undefined) throw new FormatError('signature-unsigned-attributes', 'the signature has unsigned attributes');
  const hashName = readHash(hash);
  return {
    issuer: valueOf(issuer, SEQUENCE, 'the issuer'),
    serial: valueOf(serial, INTEGER, 'the serial number'),
    hash: hashName,
    scheme: readScheme(scheme, hashName),
    value: valueOf(value, OCTET_STRING, 'the signature value'),
  };
}

/** The object identifier of an algorithm whose parameters say nothing. */
function readAlgorithm(algorithm: Element | undefined, what: string): string {
  const [type, parameters] = childrenOf(algorithm, SEQUENCE, what, 1, 2);
  const oid = oidOf(type, what);
  if (parameters !== undefined && (tagOf(parameters) !== NULL || parameters.value.length > 0))
    throw new FormatError('signature-parameters', `${what} has parameters`);
  return oid;
}

function readHash(algorithm: Element | undefined): HashName {
  const oid = readAlgorithm(algorithm, 'the hash algorithm');
  const known = (Object.keys(HASHES) as HashName[]).find((name) => HASHES[name] === oid);
  if (known !== undefined) return known;
  const weak = WEAK_HASHES.get(oid);
  if (weak !== undefined) throw new FormatError('signature-weak-hash', `the signature is made with ${weak}, which is broken`);
  throw new FormatError('signature-unknown-hash', 'the signature is made with a hash other than SHA-256, SHA-384 and SHA-512');
}

function readScheme(algorithm: Element | undefined, hash: HashName): Scheme {
  const oid = readAlgorithm(algorithm, 'the signature algorithm');
  if (oid === RSA_ENCRYPTION) return 'rsa';
  if (oid === ECDSA[hash]) return 'ecdsa';
  if (Object.values(ECDSA).includes(oid))
    throw new FormatError('signature-other-hash', 'the signature algorithm uses another hash than the signer says');
  throw new FormatError('signature-algorithm', 'the signature is made neither with RSA (PKCS#1 v1.5) nor with ECDSA');
}
