// The object identifiers of CMS, and which of its algorithms are taken: those the kernel takes, too (crypto/asymmetric_keys/pkcs7_parser.c).

export type HashName = 'sha256' | 'sha384' | 'sha512';
export type Scheme = 'rsa' | 'ecdsa';

/** The hex digits of an object identifier's encoding, of which numbers above 127 take several bytes. */
function encodeOid(dotted: string): string {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return [first * 40 + second, ...rest].map(base128).join('');
}

function base128(number: number): string {
  const digits = [number & 0x7f];
  for (let left = Math.floor(number / 128); left > 0; left = Math.floor(left / 128)) digits.unshift((left & 0x7f) | 0x80);
  return Buffer.from(digits).toString('hex');
}

export const DATA = encodeOid('1.2.840.113549.1.7.1');
export const SIGNED_DATA = encodeOid('1.2.840.113549.1.7.2');

export const HASHES: Readonly<Record<HashName, string>> = {
  sha256: encodeOid('2.16.840.1.101.3.4.2.1'),
  sha384: encodeOid('2.16.840.1.101.3.4.2.2'),
  sha512: encodeOid('2.16.840.1.101.3.4.2.3'),
};

/** Known, and not taken: who can find two contents of one hash needs no key. */
export const WEAK_HASHES: ReadonlyMap<string, string> = new Map([
  [encodeOid('1.2.840.113549.2.5'), 'MD5'],
  [encodeOid('1.3.14.3.2.26'), 'SHA-1'],
]);

export const RSA_ENCRYPTION = encodeOid('1.2.840.113549.1.1.1');

export const ECDSA: Readonly<Record<HashName, string>> = {
  sha256: encodeOid('1.2.840.10045.4.3.2'),
  sha384: encodeOid('1.2.840.10045.4.3.3'),
  sha512: encodeOid('1.2.840.10045.4.3.4'),
};

// Extensions of certificates (RFC 5280), and the purposes that one may name.
export const KEY_USAGE = encodeOid('2.5.29.15');
export const EXTENDED_KEY_USAGE = encodeOid('2.5.29.37');
export const CODE_SIGNING = encodeOid('1.3.6.1.5.5.7.3.3');
export const ANY_PURPOSE = encodeOid('2.5.29.37.0');
