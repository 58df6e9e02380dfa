import assert from 'node:assert/strict';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, eventually, startDaemon } from '../support/daemon.js';
import { digestOfFile, makeErofs, policyText } from '../support/images.js';
import { run } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';
import { mountOnce } from '../support/steps.js';

const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
let daemon: Daemon;
let actor: Actor;
let digest: string;

before(async () => {
  digest = makeErofs(image, { 'hello.txt': 'hello\n' });
  daemon = await startDaemon({ policy: policyText({ digests: [digest] }) });
  actor = await startActor({ uid: 4711 });
});
after(async () => {
  await actor?.stop();
  await daemon?.stop();
  scratch.remove();
});

test("a caller's image file is mounted, its root's files owned by uid 0 of the caller's namespace", async () => {
  const seen = await actor.do(
    ({ client, file, fs, mount }, { address, image }) => {
      const connection = client.connect({ address });
      const fd = file.openPath(image, file.O_RDONLY);
      const { mount: received, result } = connection.mountFile(fd, []);
      const directory = fs.mkdtempSync('/tmp/cfsmountd-mnt-');
      client.attach(received, directory);
      received.close();
      const { uid, gid } = fs.statSync(`${directory}/hello.txt`);
      const text = fs.readFileSync(`${directory}/hello.txt`, 'utf8');
      const live = connection.listMounts().length;
      mount.umount2(directory, mount.MNT_DETACH);
      fs.rmdirSync(directory);
      return { uid, gid, text, live, digest: result.digest, verified: result.verified, locked: result.locked };
    },
    { address: daemon.address, image },
  );
  assert.deepEqual(seen, { uid: 0, gid: 0, text: 'hello\n', live: 1, digest, verified: 'copy', locked: true });
});

test('the mount counts until it is gone, and no longer', async () => {
  const live = () =>
    actor.do(
      ({ client }, { address }) => {
        const connection = client.connect({ address });
        const { length } = connection.listMounts();
        connection.close();
        return length;
      },
      { address: daemon.address },
    );
  await eventually('no mount is live', async () => (await live()) === 0);
});

test('a root directory that no id of the namespace may read is refused, and the hint says what to do', async () => {
  const tree = join(scratch.path, 'closed');
  const closed = join(scratch.path, 'closed.erofs');
  mkdirSync(tree, { mode: 0o700 });
  run('mkfs.erofs', '--quiet', '--force-uid=5000', '--force-gid=5000', closed, tree);
  chmodSync(closed, 0o644);
  daemon.writePolicy(policyText({ digests: [digest, digestOfFile(closed)] }));
  daemon.process.kill('SIGHUP');
  await daemon.eventually('the policy is read again', () => daemon.stderr().includes('policy read again'));
  await assert.rejects(actor.do(mountOnce, { address: daemon.address, image: closed }), {
    code: 'BadUserNamespace',
    message: /root directory .* does not map/,
    hint: /podman unshare/,
  });
});
