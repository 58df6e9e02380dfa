// A store with another mount over its very root. overlayfs takes its layers by path on this kernel, and the path leads to the other mount:
// daemon/worker/join.ts compares. The same attack on a daemon that does not shows that it is the comparison which refuses.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import type { OwnedFd } from '../../../client/index.js';
import { type Actor, startActor } from '../../support/actor.js';
import { type Daemon, startDaemon } from '../../support/daemon.js';
import { digestOfFile, policyText } from '../../support/images.js';
import { ROOT, run } from '../../support/machine.js';
import { makeScratch } from '../../support/scratch.js';
import { ALICE } from '../guest.js';

const scratch = makeScratch();
const own = join(scratch.path, 'own');
const text = randomBytes(5000).toString('hex');
let policy: string;
let alice: Actor;

before(async () => {
  mkdirSync(join(own, 'tree'), { recursive: true });
  writeFileSync(join(own, 'tree/file'), text);
  run('/tests/dist/cfsctl', 'mkfs', '--digest-store', join(own, 'store'), join(own, 'tree'), join(own, 'image.cfs'));
  for (const directory of [own, join(own, 'store')]) chownSync(directory, ALICE, ALICE);
  policy = policyText({ digests: [digestOfFile(join(own, 'image.cfs'))] });
  alice = await startActor({ uid: ALICE });
});
after(async () => {
  await alice?.stop();
  scratch.remove();
});

/**
 * Asks with a detached copy of the store: alone, or recursive, with a tmpfs over its root that came along. Returns what the file reads
 * then, or the refusal.
 */
const ask = (daemon: Daemon, covered: boolean): Promise<string> =>
  alice.do(
    ({ client, file, fs, libc, mount }, { address, own, covered }) => {
      const openTree = libc.bindSyscall('open_tree', 428, ['fd', 'path', 'u32']);
      const [AT_EMPTY_PATH, AT_RECURSIVE, CLONE] = [0x1000, 0x8000, 1];
      const store = file.openPath(`${own}/store`, file.O_RDONLY | file.O_DIRECTORY);
      const held: OwnedFd[] = [store];
      const connection = client.connect({ address, timeoutMs: 60_000 });
      try {
        if (covered) {
          const context = mount.fsopen('tmpfs');
          mount.fsconfigCreate(context);
          const tmpfs = mount.fsmount(context, 0);
          mount.moveMount(tmpfs, null, `${own}/store`);
          held.push(context, tmpfs);
        }
        openTree(store.raw, '', AT_EMPTY_PATH); // the call is there
        const number = openTree(store.raw, '', AT_EMPTY_PATH | CLONE | (covered ? AT_RECURSIVE : 0)) as number;
        const tree = file.openPath(`/proc/self/fd/${number}`, file.O_RDONLY | file.O_DIRECTORY);
        const image = file.openPath(`${own}/image.cfs`, file.O_RDONLY);
        held.push(tree, image);
        const received = connection.mountFile(image, [tree]).mount;
        held.push(received);
        return fs.readFileSync(`/proc/self/fd/${received.raw}/file`, 'utf8');
      } catch (error) {
        const { code, message, cause } = error as Error & { code?: string };
        return `${code ?? message}${cause ? ' and a cause' : ''}`;
      } finally {
        connection.close();
        for (const one of held) one.close();
        if (covered) mount.umount2(`${own}/store`, mount.MNT_DETACH);
      }
    },
    { address: daemon.address, own, covered },
  );

async function withDaemon(programs: string, use: (daemon: Daemon) => Promise<void>): Promise<void> {
  const daemon = await startDaemon({ policy, programs });
  try {
    await use(daemon);
  } finally {
    await daemon.stop();
  }
}

test('a detached store is taken as it is; one with a mount over its root is refused', () =>
  withDaemon(join(ROOT, 'dist'), async (daemon) => {
    assert.equal(await ask(daemon, false), text);
    assert.equal(await ask(daemon, true), 'Failed');
    assert.match(daemon.stderr(), /move_mount: something else is mounted there/);
    assert.equal(await ask(daemon, false), text);
  }));

test('a daemon that does not compare takes what is over the root for the store', () =>
  withDaemon('/tests/mutants/no-store-check', async (daemon) => {
    assert.equal(await ask(daemon, false), text);
    assert.equal(await ask(daemon, true), 'ENOENT', 'the mount was made, and the file looked for in the tmpfs');
  }));
