import { FormatError } from './format-error.js';

export type VerityAlgorithm = 'sha256' | 'sha512';

declare const verityDigestBrand: unique symbol;

/** An fs-verity digest as text: `sha256:` and 64, or `sha512:` and 128 lower-case hex digits. Minted only in this file. */
export type VerityDigest = string & { readonly [verityDigestBrand]: true };

/** Bytes of a digest. */
export const DIGEST_SIZE: Readonly<Record<VerityAlgorithm, number>> = { sha256: 32, sha512: 64 };

/** Longer text is not looked at: it cannot be a digest. */
const MAX_DIGEST_TEXT = 'sha512:'.length + 128;

/** Takes the one canonical spelling of a digest and refuses every other, so that equal digests are equal strings. */
export function parseVerityDigest(text: string): VerityDigest {
  if (text === '') throw new FormatError('digest-empty', 'the digest is empty');
  if (/\s/.test(text.slice(0, MAX_DIGEST_TEXT + 1)))
    throw new FormatError('digest-white-space', 'the digest contains white space or a newline');
  const colon = text.indexOf(':');
  if (colon < 0) throw new FormatError('digest-no-algorithm', 'the digest lacks its algorithm, sha256: or sha512: in front');
  const algorithm = requireAlgorithm(text.slice(0, colon));
  requireHex(algorithm, text.slice(colon + 1));
  return text as VerityDigest;
}

/** `bytes` is the raw digest as the kernel or the hasher gives it. */
export function verityDigestFromBytes(algorithm: VerityAlgorithm, bytes: Uint8Array): VerityDigest {
  if (bytes.length !== DIGEST_SIZE[algorithm]) {
    throw new FormatError(
      'digest-wrong-length',
      `a ${algorithm} digest has ${DIGEST_SIZE[algorithm]} bytes, not ${bytes.length}`,
    );
  }
  const codes: number[] = [];
  for (const byte of bytes) codes.push(HEX_DIGITS.charCodeAt(byte >> 4), HEX_DIGITS.charCodeAt(byte & 15));
  return `${algorithm}:${String.fromCharCode(...codes)}` as VerityDigest;
}

const HEX_DIGITS = '0123456789abcdef';

export function digestAlgorithm(digest: VerityDigest): VerityAlgorithm {
  return digest.startsWith('sha256:') ? 'sha256' : 'sha512';
}

export function digestHex(digest: VerityDigest): string {
  return digest.slice(digest.indexOf(':') + 1);
}

/** Place of an object below an object store: `xx/rest`, the hex digits split after the first byte. */
export function objectPath(digest: VerityDigest): string {
  const hex = digestHex(digest);
  return `${hex.slice(0, 2)}/${hex.slice(2)}`;
}

function requireAlgorithm(name: string): VerityAlgorithm {
  if (name === 'sha256' || name === 'sha512') return name;
  if (name.toLowerCase() === 'sha256' || name.toLowerCase() === 'sha512') {
    throw new FormatError('digest-upper-case', 'the algorithm must be written in lower case: sha256: or sha512:');
  }
  // Only a name of harmless shape is repeated: the text may come from a caller and end in a log.
  const shown = /^[A-Za-z0-9_-]{1,24}$/.test(name) ? `"${name}" ` : '';
  throw new FormatError('digest-unknown-algorithm', `the digest algorithm ${shown}is unknown, only sha256 and sha512 are`);
}

function requireHex(algorithm: VerityAlgorithm, hex: string): void {
  const wanted = DIGEST_SIZE[algorithm] * 2;
  if (hex.length !== wanted) {
    throw new FormatError('digest-wrong-length', `a ${algorithm} digest has ${wanted} hex digits, not ${hex.length}`);
  }
  if (/^[0-9a-f]+$/.test(hex)) return;
  if (/^[0-9a-fA-F]+$/.test(hex)) throw new FormatError('digest-upper-case', 'the hex digits of a digest must be lower case');
  throw new FormatError('digest-not-hex', 'the digest contains characters other than 0-9 and a-f');
}
