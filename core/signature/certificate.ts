// X.509 certificates as far as trust in signatures asks. OpenSSL, in Node, reads them; what it does not tell is read from the same bytes.
import { createHash, type KeyObject, X509Certificate } from 'node:crypto';

import { FormatError } from '../image/format-error.js';
import { ANY_PURPOSE, CODE_SIGNING, EXTENDED_KEY_USAGE, KEY_USAGE } from './algorithms.js';
import { childrenOf, contextTag, type Element, INTEGER, OCTET_STRING, oidOf, parseDer, SEQUENCE, tagOf, valueOf } from './der.js';

export interface Certificate {
  /** SHA-256 of the encoded certificate, in lower-case hex digits. */
  readonly fingerprint: string;
  /** For people: on one line, `CN=images, O=example`. */
  readonly subject: string;
  /** Encoded, as signatures have them. */
  readonly issuer: Buffer;
  readonly serial: Buffer;
  /** Milliseconds since 1970; valid at both. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly key: KeyObject;
  /** What the certificate says its key is not for; undefined if it may sign data. */
  readonly unfitFor: string | undefined;
}

/** Bytes of the longest certificate that is read. */
export const MAX_CERTIFICATE_BYTES = 65_536;

/** Takes one certificate, PEM or DER, and nothing beside it. Throws `FormatError`. */
export function parseCertificate(bytes: Uint8Array): Certificate {
  if (bytes.length > MAX_CERTIFICATE_BYTES)
    throw new FormatError('certificate-too-long', `a certificate has at most ${MAX_CERTIFICATE_BYTES} bytes`);
  const der = bytes[0] === SEQUENCE ? Buffer.from(bytes) : decodePem(Buffer.from(bytes).toString('latin1'));
  return readCertificate(der, parseDer(der));
}

/** Text around the one block is let be: `openssl x509 -text` writes some. */
function decodePem(text: string): Buffer {
  const blocks = [...text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----([A-Za-z0-9+/=\s]*)-----END \1-----/g)];
  const [block] = blocks;
  if (block?.[1] !== 'CERTIFICATE' || blocks.length > 1)
    throw new FormatError('certificate-not-one', 'the file is not one X.509 certificate, PEM or DER');
  return Buffer.from(block[2] ?? '', 'base64');
}

function readCertificate(der: Buffer, parsed: Element): Certificate {
  const [signed] = childrenOf(parsed, SEQUENCE, 'the certificate', 3);
  const all = childrenOf(signed, SEQUENCE, 'what the certificate says', 6, 10);
  const [serial, , issuer, validity] = all[0] && tagOf(all[0]) === contextTag(0) ? all.slice(1) : all;
  const [notBefore, notAfter] = childrenOf(validity, SEQUENCE, 'the validity', 2).map(readTime);
  const extensions = all.find((element) => tagOf(element) === contextTag(3));
  const openssl = readByOpenssl(der);
  return {
    fingerprint: createHash('sha256').update(der).digest('hex'),
    subject: openssl.subject.split('\n').join(', '),
    issuer: valueOf(issuer, SEQUENCE, 'the issuer'),
    serial: valueOf(serial, INTEGER, 'the serial number'),
    notBefore: notBefore ?? Infinity,
    notAfter: notAfter ?? -Infinity,
    key: openssl.publicKey,
    unfitFor: whyUnfit(readExtensions(extensions)) ?? whyKeyUnfit(openssl.publicKey),
  };
}

function readByOpenssl(der: Buffer): Pick<X509Certificate, 'subject' | 'publicKey'> {
  try {
    const { subject, publicKey } = new X509Certificate(der);
    return { subject, publicKey };
  } catch (cause) {
    throw new FormatError('certificate-malformed', `OpenSSL does not take the certificate: ${(cause as Error).message}`);
  }
}

function readTime(time: Element): number {
  const milliseconds = orNaN(() => time.toDate().getTime());
  if (Number.isNaN(milliseconds)) throw new FormatError('certificate-time', 'a time of the certificate is malformed');
  return milliseconds;
}

function orNaN(read: () => number): number {
  try {
    return read();
  } catch {
    return Number.NaN;
  }
}

/** Values by the hex digits of their object identifiers. */
function readExtensions(extensions: Element | undefined): ReadonlyMap<string, Buffer> {
  if (extensions === undefined) return new Map();
  const [list] = childrenOf(extensions, contextTag(3), 'the extensions', 1);
  const entries = childrenOf(list, SEQUENCE, 'the list of extensions', 1, 64).map((extension): [string, Buffer] => {
    const parts = childrenOf(extension, SEQUENCE, 'an extension', 2, 3);
    return [oidOf(parts[0], 'an extension'), valueOf(parts.at(-1), OCTET_STRING, 'the value of an extension')];
  });
  if (new Map(entries).size !== entries.length)
    throw new FormatError('certificate-extension-twice', 'the certificate has an extension twice');
  return new Map(entries);
}

const BIT_STRING = 0x03;
const DIGITAL_SIGNATURE = 0x80; // the first of the bits

/** A certificate that limits what it is for must name signing data, or signing programs. */
function whyUnfit(extensions: ReadonlyMap<string, Buffer>): string | undefined {
  const usage = extensions.get(KEY_USAGE);
  if (usage !== undefined && ((valueOf(parseDer(usage), BIT_STRING, 'the key usage')[1] ?? 0) & DIGITAL_SIGNATURE) === 0)
    return 'is not for signing data (its key usage lacks digitalSignature)';
  const purposes = extensions.get(EXTENDED_KEY_USAGE);
  if (purposes === undefined) return undefined;
  const named = childrenOf(parseDer(purposes), SEQUENCE, 'the extended key usage', 1, 64).map((one) => oidOf(one, 'a purpose'));
  if (named.includes(CODE_SIGNING) || named.includes(ANY_PURPOSE)) return undefined;
  return 'is for other purposes (its extended key usage lacks codeSigning)';
}

// Shorter ones can be broken, longer ones cost whoever verifies.
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 4096;
const CURVES = ['prime256v1', 'secp384r1']; // P-256, P-384

function whyKeyUnfit(key: KeyObject): string | undefined {
  const { modulusLength = 0, namedCurve = '' } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'rsa' && modulusLength >= MIN_RSA_BITS && modulusLength <= MAX_RSA_BITS) return undefined;
  if (key.asymmetricKeyType === 'ec' && CURVES.includes(namedCurve)) return undefined;
  return 'has a key that is neither RSA of 2048 to 4096 bits nor EC on P-256 or P-384';
}
