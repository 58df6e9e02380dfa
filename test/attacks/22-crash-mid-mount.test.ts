// Row 22: kill -9 at each step of a mount (also what the crash acceptance asks for). Needed: everything is built detached and by descriptor, copies
// have no name until they are whole (copies.ts), and the helper ends with its pipe (core/kernel/park.c).
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { settleDown } from '../support/at-rest.js';
import { type Daemon, eventually, startDaemon } from '../support/daemon.js';
import { makeErofs, makeSampleRepository, policyText } from '../support/images.js';
import { run, withoutSample } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';
import { imagesOnHost } from '../support/state.js';
import { mountImageOnce, mountOnce } from '../support/steps.js';
import { injectFault } from '../support/strace.js';

const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const noSample = withoutSample();
let policy: string;
let holder: Actor;
let actor: Actor;

before(async () => {
  const digest = makeErofs(image, { 'hello.txt': 'hello\n' });
  const repository = join(scratch.path, 'repo');
  const digests = noSample ? [digest] : [digest, makeSampleRepository(repository)];
  const repositories: Record<string, 'trusted'> = noSample ? {} : { [repository]: 'trusted' };
  policy = policyText({ digests, repositories });
  holder = await startActor({ uid: 4761 });
  actor = await startActor({ uid: 4762 });
});
after(async () => {
  await holder?.stop();
  await actor?.stop();
  scratch.remove();
});

const loops = (directory: string): string[] =>
  run('losetup', '--list', '--noheadings', '--output', 'BACK-FILE')
    .split('\n')
    .filter((path) => path.startsWith(directory));
const helpers = (): number =>
  readdirSync('/proc').filter((name) => {
    try {
      return /^\d+$/.test(name) && readFileSync(`/proc/${name}/comm`, 'latin1').startsWith('cfsmountd-park');
    } catch {
      return false;
    }
  }).length;

/** Files below the state directory that no complete copy has. */
const leftovers = (state: string): string[] =>
  readdirSync(join(state, 'copies'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name)
    .filter((name) => !/^sha(256|512)-[0-9a-f]+$/.test(name));

/** A mount from an earlier request, attached by its owner: reads it whole. */
const readHeld = () => holder.do(({ fs, store }) => fs.readFileSync(`${store['directory'] as string}/hello.txt`, 'utf8'), null);

async function handOut(daemon: Daemon): Promise<void> {
  await holder.do(
    ({ client, file, fs, store }, { address, image }) => {
      const connection = client.connect({ address });
      const fd = file.openPath(image, file.O_RDONLY);
      const { mount } = connection.mountFile(fd, []);
      store['directory'] = fs.mkdtempSync('/tmp/cfsmountd-held-');
      client.attach(mount, store['directory'] as string);
      mount.close();
      fd.close();
      connection.close();
    },
    { address: daemon.address, image },
  );
}
const letGo = () =>
  holder.do(({ mount, fs, store }) => {
    mount.umount2(store['directory'] as string, 0);
    fs.rmdirSync(store['directory'] as string);
  }, null);

const STEPS: readonly (readonly [syscall: string, nth: number])[] = [
  ['accept4', 1],
  ['recvmsg', 1],
  ['fstatfs', 1],
  ['pread64', 1],
  ['pwrite64', 1],
  ['linkat', 1],
  ['fsopen', 1],
  ['fsconfig', 2],
  ['fsmount', 1],
  ['fsmount', 2],
  ['mount_setattr', 1],
  ['clone3,clone,vfork,fork', 1],
  ['unshare', 1],
  ['setns', 1],
  ['mkdirat', 1],
  ['move_mount', 2],
  ['open_tree', 1],
  ['inotify_add_watch', 1],
  ['sendmsg', 2],
  ['umount2', 1],
  ['unlinkat', 1],
];

const ROUNDS = 4;

for (const [syscall, nth] of STEPS) {
  test(`killed at ${syscall} number ${nth}: nothing is left, mounts handed out live on, the next start is clean`, async () => {
    const before = { mounts: imagesOnHost(), helpers: helpers() };
    const own = makeScratch();
    let daemon = await startDaemon({ policy, directory: own.path });
    try {
      await handOut(daemon);
      const held = loops(own.path);
      await settleDown(daemon.pid); // so that what it is killed at is a step of a mount, not one of the threads it still starts
      const ways = noSample ? [mountOnce] : [mountOnce, mountImageOnce];
      const fault = await injectFault(daemon.pid, syscall, 'signal=SIGKILL', String(nth));
      const died = daemon.process.signalCode === null ? once(daemon.process, 'exit') : Promise.resolve();
      // Calls are counted for each thread, and which of them gets a job is not ours to say: soon one has made enough of them.
      for (const way of Array(ROUNDS).fill(ways).flat()) {
        if (daemon.process.signalCode !== null) break;
        await actor
          .do(way as typeof mountOnce, { address: daemon.address, image: way === mountOnce ? image : 'sample' })
          .catch(() => {});
      }
      if (daemon.process.signalCode === null) await Promise.race([died, new Promise((resolve) => setTimeout(resolve, 1_000))]);
      await fault.detach();
      assert.equal(daemon.process.signalCode, 'SIGKILL', `${syscall} was not called ${nth} times`);
      await eventually('no helper is left', () => helpers() === before.helpers);
      assert.deepEqual(loops(own.path), held);
      assert.equal(imagesOnHost(), before.mounts);
      assert.deepEqual(leftovers(join(own.path, 'state')), []);
      assert.equal(await readHeld(), 'hello\n');
      daemon = await startDaemon({ policy, directory: own.path });
      for (const way of ways) {
        await actor.do(way as typeof mountOnce, { address: daemon.address, image: way === mountOnce ? image : 'sample' });
      }
      assert.equal(await readHeld(), 'hello\n');
      await letGo();
    } finally {
      await daemon.kill();
      own.remove();
    }
  });
}
