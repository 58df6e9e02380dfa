// Keys and certificates made by openssl, and signatures made by openssl and fsverity.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { type Certificate, parseCertificate } from '../../core/signature/certificate.js';
import { type VerityDigest, parseVerityDigest } from '../../core/image/digest.js';
import { run } from './machine.js';

export interface Signer {
  /** Paths of the private key and of the certificate, PEM. */
  readonly key: string;
  readonly cert: string;
  readonly certificate: Certificate;
}

/** What `openssl req -newkey` is told for each kind of key. */
const KEY_KINDS = {
  'rsa:1024': ['rsa:1024'],
  'rsa:2048': ['rsa:2048'],
  'rsa:4096': ['rsa:4096'],
  'P-256': ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  'P-384': ['ec', '-pkeyopt', 'ec_paramgen_curve:P-384'],
  'P-521': ['ec', '-pkeyopt', 'ec_paramgen_curve:P-521'],
} as const;
export type KeyKind = keyof typeof KEY_KINDS;

/** Makes a key and a certificate of its own for `name`, valid for ten days, unless `options` of `openssl req -x509` say otherwise. */
export function makeSigner(directory: string, name: string, kind: KeyKind, ...options: readonly string[]): Signer {
  const [key, cert] = [join(directory, `${name}.pem`), join(directory, `${name}.crt`)];
  const made = ['req', '-x509', '-nodes', '-keyout', key, '-out', cert, '-days', '10', '-newkey', ...KEY_KINDS[kind]];
  run('openssl', ...made, ...(options.includes('-subj') ? [] : ['-subj', `/CN=${name}/O=example`]), ...options);
  return { key, cert, certificate: parseCertificate(readFileSync(cert)) };
}

export function fsverityDigest(file: string, algorithm: 'sha256' | 'sha512' = 'sha256'): VerityDigest {
  return parseVerityDigest(`${algorithm}:${run('fsverity', 'digest', '--compact', `--hash-alg=${algorithm}`, file).trim()}`);
}

/** `fsverity sign`: returns the signature. */
export function fsveritySign(
  file: string,
  { key, cert }: Pick<Signer, 'key' | 'cert'>,
  algorithm: 'sha256' | 'sha512' = 'sha256',
): Buffer {
  const out = `${file}.fsverity-signature`;
  run('fsverity', 'sign', file, out, `--key=${key}`, `--cert=${cert}`, `--hash-alg=${algorithm}`);
  return readFileSync(out);
}

/** `openssl cms -sign` over any bytes, detached unless `options` say otherwise. */
export function opensslSign(
  directory: string,
  content: Uint8Array,
  { key, cert }: Signer,
  ...options: readonly string[]
): Buffer {
  const [from, to] = [join(directory, 'content'), join(directory, 'content.p7s')];
  writeFileSync(from, content);
  const who = options.includes('-signer') ? [] : ['-signer', cert, '-inkey', key];
  run('openssl', 'cms', '-sign', '-binary', '-outform', 'DER', '-in', from, '-out', to, ...who, ...options);
  return readFileSync(to);
}
