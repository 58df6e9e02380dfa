// Rules that trust signatures, over the direct socket: who gets a mount of what, and for how long.
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { CFSCTL } from '../support/cfsctl.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, makeErofs } from '../support/images.js';
import { outputAs } from '../support/run-as.js';
import { makeScratch } from '../support/scratch.js';
import { type Signer, fsveritySign, makeSigner } from '../support/signing.js';

const UID = 4751;
const scratch = makeScratch();
const path = (name: string): string => join(scratch.path, name);
const repository = path('repository');
const keys = path('daemon/keys.d');
const signers: Record<'first' | 'second' | 'stranger', Signer> = {} as never;
const digests: Record<'signed' | 'other', string> = {} as never;
let daemon: Daemon;
let actor: Actor;

before(async () => {
  for (const [name, kind] of Object.entries({ first: 'P-256', second: 'rsa:2048', stranger: 'P-384' } as const)) {
    signers[name as keyof typeof signers] = makeSigner(scratch.path, name, kind);
  }
  for (const name of ['signed', 'other'] as const) {
    digests[name] = makeErofs(path(name), { name });
    addToRepository(repository, path(name), name);
  }
  mkdirSync(join(repository, 'signatures'));
  mkdirSync(keys, { recursive: true });
  chmodSync(path('daemon'), 0o755);
  for (const name of ['first', 'second'] as const) copyFileSync(signers[name].cert, join(keys, `${name}.crt`));
  daemon = await startDaemon({ policy: policyOf('signature = true'), directory: path('daemon') });
  actor = await startActor({ uid: UID });
});
afterEach(() => {
  for (const name of ['signed', 'other'] as const) rmSync(stored(name), { force: true });
});
after(async () => {
  await actor?.stop();
  await daemon?.stop();
  scratch.remove();
});

function policyOf(conditions: string): string {
  return `[[repository]]\npath = "${repository}"\nobjects = "trusted"\n\n[[rule]]\nname = "signed images"\nusers = [${UID}]\n${conditions}\n`;
}

const stored = (name: keyof typeof digests): string => join(repository, 'signatures', digests[name].slice('sha256:'.length));
const reload = (): string => outputAs(0, [CFSCTL, '--address', daemon.address, 'reload']);
const sign = (name: keyof typeof digests, by: keyof typeof signers): Buffer => fsveritySign(path(name), signers[by]);

interface Attempt {
  readonly image: string;
  readonly signature?: Buffer;
  /** Leaves the mount open. */
  readonly keep?: boolean;
}

/** 'signed images' or the code and the message of the refusal. */
function mount({ image, signature, keep = false }: Attempt): Promise<string> {
  return actor.do(
    ({ client, file, store }, { address, image, signature, keep }) => {
      const connection = client.connect({ address });
      const fd = image.includes('/') ? file.openPath(image, file.O_RDONLY) : undefined;
      const options = signature === null ? {} : { signature: Buffer.from(signature, 'base64') };
      try {
        const { mount, result } = fd ? connection.mountFile(fd, [], options) : connection.mountImage(image, options);
        if (keep) store['kept'] = mount;
        else mount.close();
        return result.rule;
      } catch (error) {
        const { code, message } = error as { code: string; message: string };
        return `${code}: ${message}`;
      } finally {
        fd?.close();
        connection.close();
      }
    },
    { address: daemon.address, image, signature: signature?.toString('base64') ?? null, keep },
  );
}

const listed = (): Promise<string[]> =>
  actor.do(
    ({ client }, { address }) => {
      const connection = client.connect({ address });
      const names = connection.listImages().map(({ name }) => name);
      connection.close();
      return names;
    },
    { address: daemon.address },
  );

describe('every way to name an image', () => {
  for (const how of ['name', 'digest', 'path'] as const) {
    const image = (): string => ({ name: 'signed', digest: digests.signed, path: path('signed') })[how];
    test(`by ${how}: mounted with a signature that the caller brings, refused without`, async () => {
      for (const by of ['first', 'second'] as const)
        assert.equal(await mount({ image: image(), signature: sign('signed', by) }), 'signed images');
      assert.match(await mount({ image: image() }), /^NotTrusted: /);
    });
    test(`by ${how}: mounted with a signature that a repository has`, async () => {
      writeFileSync(stored('signed'), sign('signed', 'first'));
      assert.equal(await mount({ image: image() }), 'signed images');
    });
    test(`by ${how}: refused with one of another image, of a stranger, and of nobody`, async () => {
      for (const signature of [sign('other', 'first'), sign('signed', 'stranger'), Buffer.from('0')]) {
        assert.match(await mount({ image: image(), signature }), /^NotTrusted: /);
      }
    });
  }
});

test('a list shows images that a repository has signatures for, and no others', async () => {
  assert.deepEqual(await listed(), []);
  writeFileSync(stored('signed'), sign('signed', 'first'));
  writeFileSync(stored('other'), sign('signed', 'first'));
  assert.deepEqual(await listed(), ['signed']);
});

test('the refusal says what is wrong with the signature', async () => {
  assert.match(await mount({ image: 'other', signature: sign('signed', 'first') }), /is not of sha256:.* or is damaged/);
});

test('signers: only those, whoever else is trusted', async () => {
  daemon.writePolicy(policyOf(`signature = true\nsigners = ["${signers.second.certificate.fingerprint}"]`));
  reload();
  assert.equal(await mount({ image: 'signed', signature: sign('signed', 'second') }), 'signed images');
  assert.match(await mount({ image: 'signed', signature: sign('signed', 'first') }), /^NotTrusted: /);
  daemon.writePolicy(policyOf('signature = true'));
  reload();
});

test('a revoked certificate: no new mount, and the live one is named', async () => {
  const signature = sign('signed', 'first');
  const trusted = (): unknown[] =>
    (JSON.parse(outputAs(0, [CFSCTL, '--address', daemon.address, '--json', 'mounts'])) as { trusted: unknown }[]).map(
      (one) => one.trusted,
    );
  assert.equal(await mount({ image: 'signed', signature, keep: true }), 'signed images');
  reload();
  assert.deepEqual(trusted(), [true], 'the signature that was brought is remembered by its certificate');
  writeFileSync(join(keys, 'own.revoked'), `${signers.first.certificate.fingerprint}\n`);
  await daemon.eventually('the change is seen without a word', () =>
    daemon.audits().some(({ verdict, digest }) => verdict === 'revoked' && digest === digests.signed),
  );
  assert.deepEqual(trusted(), [false]);
  assert.match(await mount({ image: 'signed', signature }), /the certificate of CN=first, O=example is revoked/);
  await actor.do(({ store }) => (store['kept'] as { close(): void }).close(), null);
  rmSync(join(keys, 'own.revoked'));
  reload();
  assert.equal(await mount({ image: 'signed', signature }), 'signed images');
});

test('an image that is rewritten loses its signature', async () => {
  const mine = path('mine');
  copyFileSync(path('signed'), mine);
  const signature = sign('signed', 'first');
  assert.equal(await mount({ image: mine, signature }), 'signed images');
  writeFileSync(mine, readFileSync(path('other')));
  assert.match(await mount({ image: mine, signature }), /^NotTrusted: /);
});
