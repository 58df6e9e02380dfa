// Row 27, trust that is taken back while a mount is being made: what was true when the image was opened may not be when the mount is handed out. Needed: signatures
// are judged by the certificates in force then (daemon/methods/judge-image.ts).
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { startActor } from '../support/actor.js';
import { CFSCTL } from '../support/cfsctl.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { makeErofs } from '../support/images.js';
import { outputAs } from '../support/run-as.js';
import { makeScratch } from '../support/scratch.js';
import { fsveritySign, makeSigner, type Signer } from '../support/signing.js';
import { childrenOf } from '../support/state.js';
import { injectFault } from '../support/strace.js';

const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const keys = join(scratch.path, 'daemon/keys.d');
let signer: Signer;
let daemon: Daemon;

before(async () => {
  signer = makeSigner(scratch.path, 'signer', 'P-256');
  makeErofs(image, { 'hello.txt': 'hello\n' });
  mkdirSync(keys, { recursive: true });
  chmodSync(join(scratch.path, 'daemon'), 0o755);
  copyFileSync(signer.cert, join(keys, 'signer.crt'));
  const policy = '[[rule]]\nname = "signed images"\nsignature = true\n';
  daemon = await startDaemon({ policy, directory: join(scratch.path, 'daemon') });
});
after(async () => {
  await daemon?.stop();
  scratch.remove();
});

/** The first mount in a new user namespace, for which the helper waits two seconds, and what is done meanwhile. */
async function mountWhile(act: () => void): Promise<string> {
  const actor = await startActor({ uid: 4792 });
  const delay = await injectFault(daemon.pid, 'setresgid', 'delay_enter=2000000', '1');
  try {
    const outcome = actor.do(
      ({ client, file }, { address, image, signature }) => {
        const connection = client.connect({ address });
        const fd = file.openPath(image, file.O_RDONLY);
        try {
          connection.mountFile(fd, [], { signature: Buffer.from(signature, 'base64') }).mount.close();
          return 'mounted';
        } catch (error) {
          return (error as Error).message;
        } finally {
          fd.close();
          connection.close();
        }
      },
      { address: daemon.address, image, signature: fsveritySign(image, signer).toString('base64') },
    );
    await daemon.eventually('the mount is being made', () => childrenOf(daemon.pid).length > 0);
    act();
    return await outcome;
  } finally {
    await delay.detach();
    await actor.stop();
  }
}

const reload = (): string => outputAs(0, [CFSCTL, '--address', daemon.address, 'reload']);

test('nothing happens meanwhile: mounted', async () => {
  assert.equal(await mountWhile(() => undefined), 'mounted');
});

test('the certificate is revoked while the mount is being made: refused', async () => {
  const list = join(keys, 'gone.revoked');
  const outcome = await mountWhile(() => {
    writeFileSync(list, `${signer.certificate.fingerprint}\n`);
    reload();
  });
  assert.match(outcome, /rule "signed images" asks for a signature by a trusted certificate: the certificate of .* is revoked/);
  rmSync(list);
  reload();
});
