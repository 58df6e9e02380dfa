// The certificates an administrator trusts to sign images, and those that count no more: every file must be root's alone, or nothing is loaded.
import { FormatError } from '../../core/image/format-error.js';
import { type Certificate, parseCertificate } from '../../core/signature/certificate.js';
import type { TrustedKeys } from '../../core/signature/verify.js';
import { PolicyError } from '../problem.js';
import { findKeyFiles } from './directories.js';
import { readTrustedFile } from './read-policy.js';

const refuse = (file: string, line: number, message: string): never => {
  throw new PolicyError([{ file, line, message }]);
};

/** What the directories hold now, a file of a later one masking those of the same name. Throws PolicyError, as what is broken may be a list of revocations. */
export function readKeysFrom(directories: readonly string[]): TrustedKeys {
  const paths = [...findKeyFiles(directories).values()];
  const certificates = paths.filter((path) => path.endsWith('.crt')).map(readCertificate);
  const revoked = paths.filter((path) => path.endsWith('.revoked')).flatMap(readRevoked);
  return { certificates, revoked: new Set(revoked) };
}

function readCertificate(path: string): Certificate {
  const bytes = readTrustedFile(path);
  try {
    return parseCertificate(bytes);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return refuse(path, 1, `${error.message}; put one X.509 certificate there, or remove it`);
  }
}

/** Fingerprints, one a line, also with the colons of `openssl x509 -fingerprint -sha256`; `#` begins a comment. */
function readRevoked(path: string): string[] {
  const lines = new TextDecoder().decode(readTrustedFile(path)).split('\n');
  return lines.flatMap((line, index) => {
    const fingerprint = line.replace(/#.*/, '').trim().replaceAll(':', '').toLowerCase();
    if (fingerprint === '') return [];
    if (/^[0-9a-f]{64}$/.test(fingerprint)) return [fingerprint];
    return refuse(path, index + 1, 'is not a SHA-256 fingerprint; write the one that openssl x509 -fingerprint -sha256 prints');
  });
}
