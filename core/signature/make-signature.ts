// Makes what `fsverity sign` makes, byte by byte with RSA: SignedData without the data, the certificate and attributes.
import { type KeyObject, sign } from 'node:crypto';

import { digestAlgorithm, type VerityDigest } from '../image/digest.js';
import { formattedDigest } from '../image/verity-signature.js';
import { DATA, ECDSA, HASHES, RSA_ENCRYPTION, SIGNED_DATA } from './algorithms.js';
import type { Certificate } from './certificate.js';
import { contextTag, INTEGER, NULL, OCTET_STRING, OID, SEQUENCE, SET, writeDer } from './der.js';

const VERSION_1 = writeDer(INTEGER, Buffer.from([1]));

/** `key` is the private key of the certificate, RSA or EC; the signature uses the hash of the digest. Whether it will be relied on is for `verifySignature` to say. */
export function makeSignature(digest: VerityDigest, key: KeyObject, { issuer, serial }: Certificate): Buffer {
  const hash = digestAlgorithm(digest);
  const scheme = key.asymmetricKeyType === 'rsa' ? writeAlgorithm(RSA_ENCRYPTION, writeDer(NULL)) : writeAlgorithm(ECDSA[hash]);
  const signer = writeDer(
    SEQUENCE,
    VERSION_1,
    writeDer(SEQUENCE, writeDer(SEQUENCE, issuer), writeDer(INTEGER, serial)),
    writeAlgorithm(HASHES[hash], writeDer(NULL)),
    scheme,
    writeDer(OCTET_STRING, sign(hash, formattedDigest(digest), key)),
  );
  const signedData = writeDer(
    SEQUENCE,
    VERSION_1,
    writeDer(SET, writeAlgorithm(HASHES[hash], writeDer(NULL))),
    writeDer(SEQUENCE, writeOid(DATA)),
    writeDer(SET, signer),
  );
  return writeDer(SEQUENCE, writeOid(SIGNED_DATA), writeDer(contextTag(0), signedData));
}

const writeOid = (oid: string): Buffer => writeDer(OID, Buffer.from(oid, 'hex'));

function writeAlgorithm(oid: string, ...parameters: readonly Buffer[]): Buffer {
  return writeDer(SEQUENCE, writeOid(oid), ...parameters);
}
