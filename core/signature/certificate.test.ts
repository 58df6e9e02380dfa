import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';

import { run } from '../../test/support/machine.js';
import { makeScratch } from '../../test/support/scratch.js';
import { makeSigner } from '../../test/support/signing.js';
import { FormatError } from '../image/format-error.js';
import { MAX_CERTIFICATE_BYTES, parseCertificate } from './certificate.js';

const scratch = makeScratch();
after(() => scratch.remove());
const { cert, key, certificate } = makeSigner(scratch.path, 'signer', 'P-256', '-subj', '/CN=images/O=example');
const pem = readFileSync(cert, 'utf8');
const der = Buffer.from(pem.split('-----')[2]!, 'base64');

test('what openssl says of a certificate is what is read', () => {
  const shown = run('openssl', 'x509', '-in', cert, '-noout', '-fingerprint', '-sha256', '-serial', '-enddate');
  assert.equal(/Fingerprint=(.*)/.exec(shown)![1]!.replaceAll(':', '').toLowerCase(), certificate.fingerprint);
  assert.equal(BigInt(`0x${certificate.serial.toString('hex')}`), BigInt(`0x${/serial=(.*)/.exec(shown)![1]}`));
  assert.equal(new Date(/notAfter=(.*)/.exec(shown)![1]!).getTime(), certificate.notAfter);
  assert.equal(certificate.subject, 'CN=images, O=example');
});

const TAKEN: readonly (readonly [what: string, bytes: Buffer])[] = [
  ['DER', der],
  ['PEM with the text of openssl x509 -text before it', Buffer.from(run('openssl', 'x509', '-in', cert, '-text'))],
  ['PEM with lines of Windows', Buffer.from(pem.replaceAll('\n', '\r\n'))],
];
for (const [what, bytes] of TAKEN) {
  test(`taken: ${what}`, () => assert.equal(parseCertificate(bytes).fingerprint, certificate.fingerprint));
}

test('a year behind 2049, which is written in another form', () => {
  assert.ok(makeSigner(scratch.path, 'late', 'P-256', '-days', '36500').certificate.notAfter > Date.UTC(2100, 0, 1));
});

const REFUSED: readonly (readonly [what: string, rule: string, bytes: Buffer])[] = [
  ['nothing', 'certificate-not-one', Buffer.alloc(0)],
  ['two certificates', 'certificate-not-one', Buffer.from(pem + pem)],
  ['a private key', 'certificate-not-one', readFileSync(key)],
  ['a key before the certificate', 'certificate-not-one', Buffer.concat([readFileSync(key), Buffer.from(pem)])],
  ['the end of the block is missing', 'certificate-not-one', Buffer.from(pem.replace(/-----END.*/, ''))],
  ['DER that goes on', 'der-trailing', Buffer.concat([der, Buffer.alloc(1)])],
  ['PEM that is cut', 'der-truncated', Buffer.from(pem.replace(/\n.*\n-----END/, '\n-----END'))],
  ['too long', 'certificate-too-long', Buffer.alloc(MAX_CERTIFICATE_BYTES + 1, 0x20)],
];
describe('refused', () => {
  for (const [what, rule, bytes] of REFUSED) {
    test(`${what}: ${rule}`, () => {
      assert.throws(
        () => parseCertificate(bytes),
        (error: unknown) => error instanceof FormatError && error.rule === rule,
      );
    });
  }
});

test('a request for a certificate is none', () => {
  run('openssl', 'req', '-new', '-key', key, '-subj', '/CN=x', '-out', join(scratch.path, 'request'));
  assert.throws(() => parseCertificate(readFileSync(join(scratch.path, 'request'))), /not one X.509 certificate/);
});
