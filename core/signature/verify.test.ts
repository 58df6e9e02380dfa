// Real keys and signatures, by openssl and fsverity: what is taken, and each way to be refused. Longer than 300 lines: fifty of them are a table.
import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { run } from '../../test/support/machine.js';
import { makeScratch } from '../../test/support/scratch.js';
import { type KeyKind, type Signer, fsverityDigest, fsveritySign, makeSigner, opensslSign } from '../../test/support/signing.js';
import type { VerityDigest } from '../image/digest.js';
import { FormatError } from '../image/format-error.js';
import { MAX_SIGNATURE_BYTES, formattedDigest } from '../image/verity-signature.js';
import type { Certificate } from './certificate.js';
import { makeSignature } from './make-signature.js';
import { verifySignature } from './verify.js';

const DAY = 86_400_000;
const GOOD_KEYS: readonly KeyKind[] = ['rsa:2048', 'rsa:4096', 'P-256', 'P-384'];
const PLAIN = ['-noattr', '-nocerts', '-md', 'sha256'];

const scratch = makeScratch();
const file = join(scratch.path, 'image');
const signers = new Map<string, Signer>();
const made = (name: string): Signer => signers.get(name)!;
let digest: VerityDigest;
/** By rsa:2048, over the digest of the file. */
let good: Buffer;

before(() => {
  writeFileSync(file, 'any file will do\n');
  digest = fsverityDigest(file);
  const make = (name: string, kind: KeyKind, ...options: string[]) =>
    signers.set(name, makeSigner(scratch.path, name.replace(':', ''), kind, ...options));
  for (const kind of GOOD_KEYS) make(kind, kind);
  make('short', 'rsa:1024');
  make('P-521', 'P-521');
  make('for certificates', 'P-256', '-addext', 'keyUsage=keyCertSign');
  make('for servers', 'P-256', '-addext', 'extendedKeyUsage=serverAuth');
  make('for code', 'P-256', '-addext', 'keyUsage=digitalSignature', '-addext', 'extendedKeyUsage=codeSigning');
  make('stranger', 'rsa:2048');
  make('one', 'P-256', '-subj', '/CN=same', '-set_serial', '7');
  make('two', 'P-256', '-subj', '/CN=same', '-set_serial', '7');
  make('ec one', 'P-256', '-subj', '/CN=alike', '-set_serial', '8');
  make('rsa one', 'rsa:2048', '-subj', '/CN=alike', '-set_serial', '8');
  good = fsveritySign(file, made('rsa:2048'));
});
after(() => scratch.remove());

interface Attempt {
  readonly signature: Uint8Array;
  readonly digest: VerityDigest;
  readonly trusted: readonly Signer[];
  readonly revoked: readonly string[];
  readonly now: number;
}

function attempt(changes: Partial<Attempt> = {}): Certificate {
  const { signature, trusted, revoked, now, ...rest } = {
    ...{
      signature: good,
      digest,
      trusted: [...signers.values()].filter((one) => one !== made('stranger')),
      revoked: [],
      now: Date.now(),
    },
    ...changes,
  };
  const keys = { certificates: trusted.map(({ certificate }) => certificate), revoked: new Set(revoked) };
  return verifySignature(signature, rest.digest, keys, now);
}

const byOpenssl = (name: string, ...options: string[]): Buffer =>
  opensslSign(scratch.path, formattedDigest(digest), made(name), ...(options.length > 0 ? options : PLAIN));

/** The signature with one run of bytes (hex) replaced by another of the same length. */
function replaced(from: string, to: string, which: 'first' | 'last' = 'first', signature = good): Buffer {
  const hex = signature.toString('hex');
  const at = which === 'first' ? hex.indexOf(from) : hex.lastIndexOf(from);
  assert.ok(at >= 0 && at % 2 === 0, `${from} stands in the signature`);
  return Buffer.from(hex.slice(0, at) + to + hex.slice(at + from.length), 'hex');
}

const OID_SHA256 = '0609608648016503040201';
const OID_SHA3_256 = '0609608648016503040208';
const OID_SHA512 = '0609608648016503040203';
const OID_DATA = '06092a864886f70d010701';
const OID_SIGNED_DATA = '06092a864886f70d010702';
const OID_ENVELOPED_DATA = '06092a864886f70d010703';
const OID_RSA = '06092a864886f70d010101';
const OID_RSA_PSS = '06092a864886f70d01010a';
const OID_ECDSA_SHA256 = '06082a8648ce3d040302';
const OID_ECDSA_SHA512 = '06082a8648ce3d040304';

describe('taken', () => {
  for (const kind of GOOD_KEYS) {
    for (const algorithm of ['sha256', 'sha512'] as const) {
      test(`what fsverity signs: ${kind}, ${algorithm}`, () => {
        const signature = fsveritySign(file, made(kind), algorithm);
        const signer = attempt({ signature, digest: fsverityDigest(file, algorithm) });
        assert.equal(signer.fingerprint, made(kind).certificate.fingerprint);
      });
      test(`what is signed here, which openssl takes, too: ${kind}, ${algorithm}`, () => {
        const { key, cert, certificate } = made(kind);
        const signed = fsverityDigest(file, algorithm);
        const signature = makeSignature(signed, createPrivateKey(readFileSync(key)), certificate);
        assert.equal(attempt({ signature, digest: signed }), certificate);
        const [p7s, content] = [join(scratch.path, 'ours.p7s'), join(scratch.path, 'ours.content')];
        writeFileSync(p7s, signature);
        writeFileSync(content, formattedDigest(signed));
        const options = [
          '-verify',
          '-binary',
          '-inform',
          'DER',
          '-in',
          p7s,
          '-content',
          content,
          '-certfile',
          cert,
          '-out',
          '/dev/null',
        ];
        for (const command of ['smime', 'cms']) run('openssl', command, ...options, '-nointern', '-CAfile', cert);
      });
    }
  }
  test('what is signed here by RSA is, byte by byte, what fsverity makes', () => {
    const { key, certificate } = made('rsa:2048');
    assert.deepEqual(makeSignature(digest, createPrivateKey(readFileSync(key)), certificate), good);
  });
  for (const md of ['sha256', 'sha384', 'sha512']) {
    test(`what openssl cms signs by P-384 with ${md}`, () => {
      assert.equal(attempt({ signature: byOpenssl('P-384', '-noattr', '-nocerts', '-md', md) }), made('P-384').certificate);
    });
  }
  test('a certificate for signing code', () => {
    assert.equal(attempt({ signature: byOpenssl('for code') }), made('for code').certificate);
  });
  test('one that brings its own, trusted certificate', () => {
    assert.equal(attempt({ signature: byOpenssl('P-256', '-noattr', '-md', 'sha256') }), made('P-256').certificate);
  });
  test('two certificates of one name and number: the one whose key it was', () => {
    for (const name of ['one', 'two']) assert.equal(attempt({ signature: byOpenssl(name) }), made(name).certificate);
  });
  test('on the first and on the last millisecond of the certificate', () => {
    const { notBefore, notAfter } = made('rsa:2048').certificate;
    for (const now of [notBefore, notAfter]) attempt({ now });
  });
});

const REFUSALS: readonly (readonly [what: string, rule: string, changes: () => Partial<Attempt>])[] = [
  ['nothing', 'der-empty', () => ({ signature: Buffer.alloc(0) })],
  [
    'a byte more than the kernel takes',
    'signature-too-long',
    () => ({ signature: Buffer.concat([good, Buffer.alloc(MAX_SIGNATURE_BYTES + 1 - good.length)]) }),
  ],
  [
    'as long as the kernel takes, and not filled',
    'der-trailing',
    () => ({ signature: Buffer.concat([good, Buffer.alloc(MAX_SIGNATURE_BYTES - good.length)]) }),
  ],
  ['PEM', 'der-constructed', () => ({ signature: Buffer.from('-----BEGIN PKCS7-----') })],
  ['its last byte is missing', 'der-truncated', () => ({ signature: good.subarray(0, -1) })],
  ['one byte follows', 'der-trailing', () => ({ signature: Buffer.concat([good, Buffer.alloc(1)]) })],
  ['it follows itself', 'der-trailing', () => ({ signature: Buffer.concat([good, good]) })],
  [
    'indefinite length',
    'der-indefinite',
    () => ({ signature: Buffer.concat([Buffer.from('3080', 'hex'), good.subarray(4), Buffer.alloc(2)]) }),
  ],
  ['streamed by openssl', 'der-indefinite', () => ({ signature: byOpenssl('rsa:2048', ...PLAIN, '-nodetach', '-stream') })],
  [
    'a length that is not the shortest',
    'der-length',
    () => ({ signature: Buffer.concat([Buffer.from('308300', 'hex'), good.subarray(2)]) }),
  ],
  [
    'a length of terabytes',
    'der-length',
    () => ({ signature: Buffer.concat([Buffer.from('3086ffffffffffff', 'hex'), good.subarray(4)]) }),
  ],
  ['a tag of several bytes', 'der-tag', () => ({ signature: replaced(OID_SIGNED_DATA, `1f${OID_SIGNED_DATA.slice(2)}`) })],
  ['a number with zeros before it', 'der-integer', () => ({ signature: Buffer.from('300402020001', 'hex') })],
  ['a simple value in pieces', 'der-constructed', () => ({ signature: Buffer.from('300426020000', 'hex') })],
  ['nested 5000 deep', 'der-depth', () => ({ signature: nested(5000) })],
  ['another PKCS#7 message', 'signature-not-signed-data', () => ({ signature: replaced(OID_SIGNED_DATA, OID_ENVELOPED_DATA) })],
  [
    'a certificate',
    'signature-shape',
    () => ({ signature: Buffer.from(readFileSync(made('one').cert, 'utf8').split('-----')[2]!, 'base64') }),
  ],
  ['another version', 'signature-version', () => ({ signature: replaced('020101', '020104') })],
  ['another content type', 'signature-content-type', () => ({ signature: replaced(OID_DATA, OID_ENVELOPED_DATA) })],
  ['not detached', 'signature-not-detached', () => ({ signature: byOpenssl('rsa:2048', ...PLAIN, '-nodetach') })],
  [
    'two signers',
    'signature-signers',
    () => ({
      signature: byOpenssl(
        'rsa:2048',
        ...PLAIN,
        '-signer',
        made('rsa:2048').cert,
        '-inkey',
        made('rsa:2048').key,
        '-signer',
        made('P-256').cert,
        '-inkey',
        made('P-256').key,
      ),
    }),
  ],
  ['no signer', 'signature-signers', () => ({ signature: withoutSigners() })],
  [
    'the signer named by the identifier of its key',
    'signature-version',
    () => ({ signature: byOpenssl('rsa:2048', ...PLAIN, '-keyid') }),
  ],
  ['the version of such a signer', 'signer-version', () => ({ signature: replaced('020101', '020103', 'last') })],
  ['signed attributes', 'signature-attributes', () => ({ signature: byOpenssl('rsa:2048', '-nocerts', '-md', 'sha256') })],
  ['SHA-1', 'signature-weak-hash', () => ({ signature: byOpenssl('rsa:2048', '-noattr', '-nocerts', '-md', 'sha1') })],
  ['MD5', 'signature-weak-hash', () => ({ signature: byOpenssl('rsa:2048', '-noattr', '-nocerts', '-md', 'md5') })],
  ['a hash that is not taken', 'signature-unknown-hash', () => ({ signature: replaced(OID_SHA256, OID_SHA3_256, 'last') })],
  ['two hashes', 'signature-hashes', () => ({ signature: replaced(OID_SHA256, OID_SHA512) })],
  ['RSA-PSS', 'signature-algorithm', () => ({ signature: replaced(OID_RSA, OID_RSA_PSS) })],
  [
    'RSA-PSS by openssl',
    'signature-parameters',
    () => ({ signature: byOpenssl('rsa:2048', ...PLAIN, '-keyopt', 'rsa_padding_mode:pss') }),
  ],
  [
    'an algorithm of another hash',
    'signature-other-hash',
    () => ({ signature: replaced(OID_ECDSA_SHA256, OID_ECDSA_SHA512, 'first', byOpenssl('P-256')) }),
  ],
  ['a stranger', 'signer-unknown', () => ({ signature: byOpenssl('stranger') })],
  [
    'a stranger who brings a certificate',
    'certificate-embedded',
    () => ({ signature: byOpenssl('stranger', '-noattr', '-md', 'sha256') }),
  ],
  [
    'a trusted signer who brings a stranger',
    'certificate-embedded',
    () => ({ signature: byOpenssl('rsa:2048', '-noattr', '-md', 'sha256', '-certfile', made('stranger').cert) }),
  ],
  ['another serial number', 'signer-unknown', () => ({ signature: otherSerial() })],
  [
    'another issuer',
    'signer-unknown',
    () => ({ signature: replaced(Buffer.from('rsa2048').toString('hex'), Buffer.from('rsa2049').toString('hex')) }),
  ],
  ['no certificate is trusted', 'signer-unknown', () => ({ trusted: [] })],
  ['a revoked certificate', 'certificate-revoked', () => ({ revoked: [made('rsa:2048').certificate.fingerprint] })],
  ['an expired certificate', 'certificate-expired', () => ({ now: made('rsa:2048').certificate.notAfter + 1 })],
  [
    'a certificate that is not valid yet',
    'certificate-not-yet-valid',
    () => ({ now: made('rsa:2048').certificate.notBefore - 1 }),
  ],
  ['a clock that is years behind', 'certificate-not-yet-valid', () => ({ now: Date.now() - 3000 * DAY })],
  ['a key for certificates', 'certificate-unfit', () => ({ signature: byOpenssl('for certificates') })],
  ['a key for servers', 'certificate-unfit', () => ({ signature: byOpenssl('for servers') })],
  ['a key of 1024 bits', 'certificate-unfit', () => ({ signature: byOpenssl('short') })],
  [
    'a curve that is not taken',
    'certificate-unfit',
    () => ({ signature: byOpenssl('P-521', '-noattr', '-nocerts', '-md', 'sha512') }),
  ],
  [
    'an RSA certificate of the name and number of the EC signer',
    'signature-other-key',
    () => ({ signature: byOpenssl('ec one'), trusted: [made('rsa one')] }),
  ],
  [
    'another certificate of the name and number of the signer',
    'signature-wrong',
    () => ({ signature: byOpenssl('one'), trusted: [made('two')] }),
  ],
  [
    'another digest',
    'signature-wrong',
    () => ({ digest: `${digest.slice(0, -1)}${digest.endsWith('0') ? '1' : '0'}` as VerityDigest }),
  ],
  [
    'the digest itself signed, not the formatted one',
    'signature-wrong',
    () => ({ signature: opensslSign(scratch.path, Buffer.from(digest.slice(7), 'hex'), made('rsa:2048'), ...PLAIN) }),
  ],
  ['the digest of the other algorithm', 'signature-wrong', () => ({ digest: fsverityDigest(file, 'sha512') })],
  [
    'a flipped bit of the value',
    'signature-wrong',
    () => ({ signature: good.with(good.length - 1, good.at(-1)! ^ 1) as Buffer }),
  ],
  ['an ECDSA value that is no pair of numbers', 'signature-wrong', () => ({ signature: brokenEcdsa() })],
];

function nested(depth: number): Buffer {
  let bytes = Buffer.alloc(0);
  for (let level = 0; level < depth; level += 1) {
    const { length } = bytes;
    const header =
      length < 0x80 ? [0x30, length] : length < 0x100 ? [0x30, 0x81, length] : [0x30, 0x82, length >> 8, length & 0xff];
    bytes = Buffer.concat([Buffer.from(header), bytes]);
    if (bytes.length > MAX_SIGNATURE_BYTES - 8) break;
  }
  return bytes;
}

/** `SET {}` in place of the signers, the lengths around it set right. */
function withoutSigners(): Buffer {
  const [head] = good.toString('hex').split('318201');
  const body = `${head!.slice(head!.indexOf('020101'))}3100`;
  const wrap = (tag: string, hex: string): string => `${tag}${(hex.length / 2).toString(16).padStart(2, '0')}${hex}`;
  return Buffer.from(wrap('30', OID_SIGNED_DATA + wrap('a0', wrap('30', body))), 'hex');
}

function otherSerial(): Buffer {
  const serial = made('rsa:2048').certificate.serial.toString('hex');
  return replaced(serial, `${serial.slice(0, -2)}${serial.endsWith('00') ? '01' : '00'}`);
}

function brokenEcdsa(): Buffer {
  const signature = byOpenssl('P-256');
  const value = signature.indexOf(Buffer.from(OID_ECDSA_SHA256, 'hex')) + OID_ECDSA_SHA256.length / 2 + 2;
  assert.equal(signature[value], 0x30);
  signature[value] = 0x31;
  return signature;
}

describe('refused, each for its own reason', () => {
  for (const [what, rule, changes] of REFUSALS) {
    test(`${what}: ${rule}`, () => {
      attempt(); // the same without the change
      assert.throws(
        () => attempt(changes()),
        (error: unknown) => error instanceof FormatError && (assert.equal(error.rule, rule, error.message), true),
      );
    });
  }
});
