// The certificates an administrator trusts to sign images: keys.d, with the precedence of systemd's drop-in directories. The one file of this folder that reads any.
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

import { FormatError } from '../image/format-error.js';
import { type Certificate, parseCertificate } from './certificate.js';
import type { TrustedKeys } from './verify.js';

/** Where the service looks; the first counts most. */
export const KEY_DIRECTORIES: readonly string[] = ['/etc/cfsmountd/keys.d', '/run/cfsmountd/keys.d', '/usr/lib/cfsmountd/keys.d'];

const CERTIFICATE = '.crt';
/** Lists of fingerprints. Each has a name of its own: the same name in /etc takes the place of a vendor's list, and brings back what that revoked. */
const REVOKED = '.revoked';

/** Something in keys.d cannot be used; `message` says what, and how to mend it. */
export class KeyFileError extends Error {
  override readonly name = 'KeyFileError';
  readonly file: string;
  readonly line: number;

  constructor(file: string, line: number, message: string) {
    super(message);
    this.file = file;
    this.line = line;
  }
}

/** Why a path is not to be believed; undefined if it is. */
export type Distrust = (path: string) => string | undefined;

/**
 * Reads all certificates and revocations, or none: throws KeyFileError, as what is broken may be a list of revocations. `distrust` is asked for each directory and
 * each file before it is read.
 */
export function readKeyFiles(directories: readonly string[], distrust: Distrust): TrustedKeys {
  const paths = listFiles(directories, distrust);
  const certificates = paths.filter((path) => path.endsWith(CERTIFICATE)).map((path) => readCertificate(path, distrust));
  const revoked = paths.filter((path) => path.endsWith(REVOKED)).flatMap((path) => readRevoked(path, distrust));
  return { certificates, revoked: new Set(revoked) };
}

/** One path for each name, in the order of names; a name that is a link to /dev/null where it counts is left out. */
function listFiles(directories: readonly string[], distrust: Distrust): string[] {
  const byName = new Map<string, string>();
  for (const directory of directories.toReversed()) {
    for (const name of listNames(directory, distrust)) byName.set(name, join(directory, name));
  }
  const paths = [...byName].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, path]) => path);
  return paths.filter((path) => !isMasked(path));
}

function listNames(directory: string, distrust: Distrust): string[] {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  requireTrusted(directory, distrust);
  return names.filter((name) => name.endsWith(CERTIFICATE) || name.endsWith(REVOKED));
}

function isMasked(path: string): boolean {
  return lstatSync(path).isSymbolicLink() && readlinkSync(path) === '/dev/null';
}

function requireTrusted(path: string, distrust: Distrust): void {
  const why = distrust(path);
  if (why !== undefined) throw new KeyFileError(path, 1, why);
}

function readTrusted(path: string, distrust: Distrust): Buffer {
  requireTrusted(path, distrust);
  // To open a FIFO could block.
  if (!lstatSync(path).isFile()) throw new KeyFileError(path, 1, 'is not a regular file; remove it');
  return readFileSync(path);
}

function readCertificate(path: string, distrust: Distrust): Certificate {
  try {
    return parseCertificate(readTrusted(path, distrust));
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new KeyFileError(path, 1, `${error.message}; put one X.509 certificate there, or remove it`);
  }
}

/** Fingerprints, one a line, also with the colons of `openssl x509 -fingerprint -sha256`; `#` begins a comment. */
function readRevoked(path: string, distrust: Distrust): string[] {
  const lines = readTrusted(path, distrust).toString('utf8').split('\n');
  return lines.flatMap((line, index) => {
    const fingerprint = line.replace(/#.*/, '').trim().replaceAll(':', '').toLowerCase();
    if (fingerprint === '') return [];
    if (/^[0-9a-f]{64}$/.test(fingerprint)) return [fingerprint];
    const mend = 'write the one that openssl x509 -fingerprint -sha256 prints';
    throw new KeyFileError(path, index + 1, `is not a SHA-256 fingerprint; ${mend}`);
  });
}
