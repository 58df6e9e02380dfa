// cfsctl sign and verify-signature beside fsverity(1), and what the daemon says of signatures.
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';

import { CFSCTL, cfsctl } from '../support/cfsctl.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, makeErofs, policyText } from '../support/images.js';
import { run } from '../support/machine.js';
import { assertDone, assertRefused } from '../support/outcome.js';
import { runAs } from '../support/run-as.js';
import { makeScratch } from '../support/scratch.js';
import { type Signer, fsveritySign, makeSigner } from '../support/signing.js';

const UID = 4711;
const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const p7s = `${image}.p7s`;
const repository = join(scratch.path, 'repository');
let signer: Signer;
let stranger: Signer;
let digest: string;

before(() => {
  digest = makeErofs(image, { 'hello.txt': 'hello\n' });
  signer = makeSigner(scratch.path, 'signer', 'P-256');
  stranger = makeSigner(scratch.path, 'stranger', 'rsa:2048');
  chmodSync(scratch.path, 0o777);
  for (const { key } of [signer, stranger]) chmodSync(key, 0o644);
});
afterEach(() => rmSync(p7s, { force: true }));
after(() => scratch.remove());

const sign = (...words: string[]) => cfsctl('sign', '--key', signer.key, '--cert', signer.cert, ...words);
const verify = (...words: string[]) => cfsctl('verify-signature', ...words);

describe('cfsctl sign', () => {
  test('writes IMAGE.p7s, and says what it signed', () => {
    const { fingerprint } = signer.certificate;
    assertDone(sign(image), `digest       ${digest}\nsignature    ${p7s}\nfingerprint  ${fingerprint}\n`);
    assertDone(
      verify('--cert', signer.cert, image),
      /^signed by +CN=signer, O=example\nfingerprint +[0-9a-f]{64}\nvalid until +.*\ndigest +sha256:/,
    );
  });
  test('writes by RSA, byte by byte, what fsverity does', () => {
    assert.equal(cfsctl('sign', '--key', stranger.key, '--cert', stranger.cert, '--algorithm', 'sha512', image).status, 0);
    assert.deepEqual(readFileSync(p7s), fsveritySign(image, stranger, 'sha512'));
  });
  test('as JSON', () => {
    assert.deepEqual(JSON.parse(sign('--json', image).stdout), {
      digest,
      signature: p7s,
      fingerprint: signer.certificate.fingerprint,
    });
  });
  const refused: readonly (readonly [what: string, words: () => string[], message: RegExp])[] = [
    ['the key of another certificate', () => ['--key', stranger.key, '--cert', signer.cert], /is not the one of the certificate/],
    [
      'a certificate as key',
      () => ['--key', signer.cert, '--cert', signer.cert],
      /not a private key in PEM without a passphrase/,
    ],
    ['a key as certificate', () => ['--key', signer.key, '--cert', signer.key], /not one X.509 certificate/],
    ['a key that would not be taken', () => unfit(), /neither RSA of 2048 to 4096 bits nor EC/],
    ['no key', () => ['--key', '/nope', '--cert', signer.cert], /the key \/nope cannot be opened \(ENOENT\)/],
  ];
  for (const [what, words, message] of refused) {
    test(`refuses ${what}, and writes nothing`, () => {
      assertRefused(cfsctl('sign', ...words(), image), message);
      assert.ok(!existsSync(p7s));
    });
  }
  function unfit(): string[] {
    const { key, cert } = makeSigner(scratch.path, 'short', 'rsa:1024');
    chmodSync(key, 0o644);
    return ['--key', key, '--cert', cert];
  }
});

describe('cfsctl verify-signature', () => {
  test('takes what fsverity signed, with either digest, from any file', () => {
    for (const algorithm of ['sha256', 'sha512'] as const) {
      const file = join(scratch.path, `signature-${algorithm}`);
      writeFileSync(file, fsveritySign(image, signer, algorithm));
      const { stdout } = verify('--json', '--signature', file, '--cert', stranger.cert, '--cert', signer.cert, image);
      const { fingerprint, digest: signed } = JSON.parse(stdout) as { fingerprint: string; digest: string };
      assert.deepEqual([fingerprint, signed.split(':')[0]], [signer.certificate.fingerprint, algorithm]);
    }
  });
  test('says why not', () => {
    assertRefused(verify(image), /the signature .*\.p7s cannot be opened/);
    sign(image);
    assertRefused(verify('--cert', stranger.cert, image), /no trusted certificate has the issuer and the serial number/);
    assertRefused(verify('--cert', signer.cert, '--signature', p7s, stranger.cert), /is not of sha256:.* or is damaged/);
    assertRefused(
      verify('--cert', signer.cert, '--signature', signer.cert, image),
      /signer\S* is not a signature \(PKCS#7 in DER\): /,
    );
    writeFileSync(p7s, Buffer.alloc(16_129));
    assertRefused(verify('--cert', signer.cert, image), /has not 1 to 16128 bytes/);
  });
});

describe('the service', () => {
  let daemon: Daemon;
  let keys: string;

  before(async () => {
    addToRepository(repository, image, 'base');
    mkdirSync(join(repository, 'signatures'));
    const directory = join(scratch.path, 'daemon');
    keys = join(directory, 'keys.d');
    mkdirSync(keys, { recursive: true });
    copyFileSync(signer.cert, join(keys, 'signer.crt'));
    chmodSync(scratch.path, 0o755);
    const policy = policyText({ digests: [digest], repositories: { [repository]: 'trusted' } });
    daemon = await startDaemon({ policy, directory });
  });
  after(() => daemon?.stop());
  afterEach(() => rmSync(stored(), { force: true }));

  const stored = (): string => join(repository, 'signatures', digest.slice('sha256:'.length));
  const check = (...words: string[]) => {
    const { stdout, stderr } = runAs(UID, [CFSCTL, '--address', daemon.address, '--json', 'check', ...words]);
    assert.equal(stderr, '');
    const report = JSON.parse(stdout) as Record<string, unknown>;
    return { by: report['signed-by'], problem: report['signature-problem'] };
  };
  const bySigner = () => ({ by: [signer.certificate.fingerprint], problem: '' });
  const reload = (): string => run(CFSCTL, '--address', daemon.address, 'reload');

  test('no signature, nothing said', () => assert.deepEqual(check('base'), { by: [], problem: '' }));
  test('one that lies beside the image', () => {
    writeFileSync(p7s, fsveritySign(image, signer));
    assert.deepEqual(check(image), bySigner());
    assert.deepEqual(check('base'), { by: [], problem: '' }, 'it is not beside a name');
    assert.deepEqual(check('--signature', p7s, 'base'), bySigner());
  });
  test('one in the repository, for the name and for the file', () => {
    writeFileSync(stored(), fsveritySign(image, signer));
    for (const what of ['base', digest, image]) assert.deepEqual(check(what), bySigner());
  });
  test('a broken one takes nothing from a good one', () => {
    writeFileSync(stored(), fsveritySign(image, signer));
    writeFileSync(p7s, fsveritySign(image, stranger));
    const { by, problem } = check(image);
    assert.deepEqual(by, bySigner().by);
    assert.match(String(problem), /no trusted certificate has the issuer/);
  });
  test('in a repository, a link, a directory, a FIFO and what is too long are no signatures', () => {
    writeFileSync(p7s, fsveritySign(image, signer));
    const places: readonly (readonly [make: () => void, problem: RegExp])[] = [
      [() => symlinkSync(p7s, stored()), /^$/],
      [() => mkdirSync(stored()), /^$/],
      [() => run('mkfifo', stored()), /^$/],
      [() => writeFileSync(stored(), Buffer.alloc(1 << 20, 0x30)), /has 16129 bytes; at most 16128 are read/],
    ];
    for (const [make, problem] of places) {
      make();
      const { by, problem: said } = check('base');
      assert.deepEqual(by, []);
      assert.match(String(said), problem);
      rmSync(stored(), { recursive: true });
    }
  });
  test('trust is taken back by a reload: revoked, then removed', () => {
    writeFileSync(stored(), fsveritySign(image, signer));
    writeFileSync(join(keys, 'own.revoked'), `${signer.certificate.fingerprint}\n`);
    assert.deepEqual(check('base'), bySigner(), 'not before the reload');
    reload();
    assert.match(String(check('base').problem), /the certificate of CN=signer, O=example is revoked/);
    rmSync(join(keys, 'own.revoked'));
    rmSync(join(keys, 'signer.crt'));
    reload();
    assert.match(String(check('base').problem), /no trusted certificate/);
    copyFileSync(signer.cert, join(keys, 'signer.crt'));
    reload();
    assert.deepEqual(check('base'), bySigner());
  });
  test('a broken list of revocations: the reload fails with file and line, and all stays as it was', () => {
    writeFileSync(stored(), fsveritySign(image, signer));
    for (const [name, mode, message] of [
      ['own.revoked', 0o644, /own\.revoked:2: is not a SHA-256 fingerprint/],
      ['other.crt', 0o644, /other\.crt:1: the file is not one X\.509 certificate/],
      ['own.revoked', 0o666, /own\.revoked:1: .*writable by others/],
    ] as const) {
      const path = join(keys, name);
      writeFileSync(path, '# one\ntwo\n');
      chmodSync(path, mode);
      const { status, stderr } = runAs(0, [CFSCTL, '--address', daemon.address, 'reload']);
      assert.equal(status, 1);
      assert.match(stderr, message);
      assert.deepEqual(check('base'), bySigner());
      rmSync(path);
    }
  });
});
