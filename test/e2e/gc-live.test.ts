// Garbage collection beside a real daemon with real mounts: what is mounted stays whole.
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';

import { connect } from '../../client/mount-client.js';
import { listenStream } from '../../core/kernel/socket.js';
import { type Actor, startActor } from '../support/actor.js';
import { CFSCTL } from '../support/cfsctl.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { makeErofs, policyText } from '../support/images.js';
import { run, SHARED, withoutSample } from '../support/machine.js';
import { assertDone, assertRefused } from '../support/outcome.js';
import { startPrivateBus } from '../support/private-bus.js';
import { type Outcome, runAs } from '../support/run-as.js';
import { makeScratch } from '../support/scratch.js';
import type { Tree } from '../support/tree.js';

const skip = withoutSample();
const UID = 4714;
const scratch = makeScratch();
const at = (...names: string[]): string => join(scratch.path, ...names);
const sample = join(SHARED, 'sample/sample.cfs');
let repository: string;
let digest: string;
let small: string;
let daemon: Daemon;
let actor: Actor;
let count = 0;

before(async () => {
  if (skip) return;
  run('tar', '-C', scratch.path, '--no-same-owner', '-xzf', join(SHARED, 'sample/objects.tar.gz'));
  mkdirSync(at('small'));
  for (let i = 0; i < 5; i++) writeFileSync(at('small', `${i}`), `${i} `.repeat(100));
  actor = await startActor({ uid: UID });
});
after(async () => {
  await actor?.stop();
  scratch.remove();
});

/** A new repository with the sample, and with a small image that shares nothing with it. */
beforeEach(async () => {
  if (skip) return;
  repository = at(`repository-${count++}`);
  digest = importInto('--objects', at('objects'), sample, 'sample');
  small = importInto(at('small'), 'small');
  daemon = await startDaemon({
    policy: policyText({ digests: [digest, small], users: [UID], repositories: { [repository]: 'trusted' } }),
  });
});

afterEach(() => daemon?.kill());

function importInto(...words: string[]): string {
  return (JSON.parse(run(CFSCTL, '--json', 'import', '--repo', repository, ...words)) as { digest: string }).digest;
}

const cfsctl = (...words: string[]): Outcome => runAs(0, [CFSCTL, '--address', daemon.address, ...words]);
const gc = (...words: string[]): Outcome => cfsctl('gc', '--repo', repository, ...words);
const objects = (): number => run('find', join(repository, 'objects'), '-type', 'f').trim().split('\n').length;

function assertSound(): void {
  assertDone(cfsctl('fsck', '--repo', repository), /: all is well\n$/);
}

/** Mounts in the actor and returns where; given a file, that file. */
function mount(image: string, file?: string): Promise<string> {
  return actor.do(
    ({ client, fs, file: files }, { address, image, file }) => {
      const connection = client.connect({ address });
      const fd = file === undefined ? undefined : files.openPath(file, files.O_RDONLY);
      const { mount: received } = fd === undefined ? connection.mountImage(image) : connection.mountFile(fd, []);
      const directory = fs.mkdtempSync('/tmp/cfsmountd-mnt-');
      client.attach(received, directory);
      received.close();
      fd?.close();
      connection.close();
      return directory;
    },
    { address: daemon.address, image, ...(file === undefined ? {} : { file }) },
  );
}

/** Unmounts, and waits until the daemon knows. */
async function unmount(directory: string): Promise<void> {
  await actor.do(
    ({ fs, mount }, { directory }) => {
      mount.umount2(directory, mount.MNT_DETACH);
      fs.rmdirSync(directory);
    },
    { directory },
  );
}

const noLiveMounts = (): Promise<void> =>
  daemon.eventually('no live mounts', () => (JSON.parse(cfsctl('--json', 'mounts').stdout) as unknown[]).length === 0);

const readTree = (directory: string): Promise<Tree> =>
  actor.do(({ tree }, { directory }) => tree.describeTree(directory), { directory });

test(
  'mounted by name after an import; without its name it stays whole as long as it is mounted, and then goes',
  { skip },
  async () => {
    const directory = await mount('sample');
    const tree = await readTree(directory);
    assert.equal(Object.keys(tree).length, 1354);
    assertDone(cfsctl('rm', '--repo', repository, 'sample', 'small'), '');
    assertDone(gc(), new RegExp(`^forgot ${small}\nkept ${digest}: it has no name, but is mounted\nremoved 6 objects, `));
    assert.equal(objects(), 903);
    assertSound();
    // Nothing that was read before is in a cache that would hide it.
    run('sh', '-c', 'echo 3 > /proc/sys/vm/drop_caches');
    assert.deepEqual(await readTree(directory), tree);
    const second = await mount(digest);
    assert.deepEqual(await readTree(second), tree, 'it can be mounted again by its digest');
    await unmount(second);
    await unmount(directory);
    await noLiveMounts();
    assertDone(gc(), new RegExp(`^forgot ${digest}\nremoved 903 objects, `));
    assert.equal(run('find', join(repository, 'objects'), '-type', 'f'), '');
    assertSound();
    await daemon.stop();
  },
);

test('a mount that the daemon has forgotten is seen in the kernel', { skip }, async () => {
  const directory = await mount(digest);
  const tree = await readTree(directory);
  await daemon.kill();
  assertDone(cfsctl('rm', '--repo', repository, 'sample'), '');
  rmSync(daemon.socket, { force: true });
  assertDone(gc(), new RegExp(`^kept ${digest}: it has no name, but is mounted\nremoved 0 objects, 0 bytes\n$`));
  assert.deepEqual(await readTree(directory), tree);
  await unmount(directory);
  assertDone(gc(), new RegExp(`^forgot ${digest}\nremoved 903 objects, `));
});

test('a mount that is attached nowhere is known to the daemon', { skip }, async () => {
  await actor.do(
    ({ client, store }, { address, digest }) => {
      const connection = client.connect({ address });
      store['mount'] = connection.mountImage(digest).mount;
      connection.close();
    },
    { address: daemon.address, digest },
  );
  assertDone(cfsctl('rm', '--repo', repository, 'sample'), '');
  assertDone(gc(), new RegExp(`^kept ${digest}: it has no name, but is mounted\n`));
  await actor.do(({ store }) => (store['mount'] as { close(): void }).close(), {});
  await noLiveMounts();
  assertDone(gc(), new RegExp(`^forgot ${digest}\n`));
  await daemon.stop();
});

test('a service that is there and does not answer: nothing is removed', { skip }, async () => {
  assertDone(cfsctl('rm', '--repo', repository, 'sample', 'small'), '');
  daemon.process.kill('SIGSTOP');
  const stopped = gc('--timeout', '0.5');
  daemon.process.kill('SIGCONT');
  assertRefused(stopped, /it cannot be told what is mounted: the service did not answer within 0\.5 s/);
  await daemon.kill();
  // The socket of the dead daemon.
  mkdirSync(daemon.directory, { recursive: true });
  listenStream(daemon.socket, 1).close();
  assertRefused(gc(), /it cannot be told what is mounted: .*nobody listens/);
  assert.equal(objects(), 909);
  rmSync(daemon.directory, { recursive: true });
  assertDone(gc(), /removed 909 objects/);
});

test(
  'an image that is mounted from a file, with its objects here, is not known: nothing is removed, unless it is said which it is',
  { skip },
  async () => {
    const file = at('outside.cfs');
    copyFileSync(sample, file);
    const directory = await mount('', file);
    const tree = await readTree(directory);
    assertDone(cfsctl('rm', '--repo', repository, 'sample', 'small'), '');
    const hex = digest.slice('sha256:'.length);
    rmSync(join(repository, 'images', hex));
    rmSync(join(repository, 'objects', hex.slice(0, 2), hex.slice(2)));
    assertRefused(
      gc(),
      new RegExp(
        `mounted that is not in the repository, but may have its objects there: ${digest}\n {2}hint: unmount it, or say with --keep`,
      ),
    );
    assert.equal(objects(), 908);
    assertDone(gc('--keep', file), new RegExp(`^forgot ${small}\nremoved 6 objects, `));
    run('sh', '-c', 'echo 3 > /proc/sys/vm/drop_caches');
    assert.deepEqual(await readTree(directory), tree);
    await unmount(directory);
    await noLiveMounts();
    assertDone(gc(), /^removed 902 objects, /);
    await daemon.stop();
  },
);

test('an image that is mounted from another repository does not matter', { skip }, async () => {
  const directory = await mount('small');
  repository = at(`repository-${count++}`);
  importInto('--objects', at('objects'), sample, 'sample');
  assertDone(cfsctl('rm', '--repo', repository, 'sample'), '');
  assertDone(gc(), new RegExp(`^forgot ${digest}\nremoved 903 objects, `));
  await unmount(directory);
  await daemon.stop();
});

test('a plain EROFS image that is mounted from a file needs nothing here', { skip }, async () => {
  const file = at('plain.erofs');
  const plain = makeErofs(file, { 'hello.txt': 'hello\n' });
  daemon.writePolicy(policyText({ digests: [plain], users: [UID], repositories: { [repository]: 'trusted' } }));
  assertDone(cfsctl('reload'), '');
  const directory = await mount('', file);
  assertDone(cfsctl('rm', '--repo', repository, 'small'), '');
  assertDone(gc(), new RegExp(`^forgot ${small}\nremoved 6 objects, `));
  await unmount(directory);
  await daemon.stop();
});

test('a dry run beside a mount removes nothing', { skip }, async () => {
  const directory = await mount(digest);
  assertDone(cfsctl('rm', '--repo', repository, 'sample', 'small'), '');
  assertDone(
    gc('--dry-run'),
    new RegExp(`^would forget ${small}\nkept ${digest}: it has no name, but is mounted\nwould remove 6 objects, `),
  );
  assert.equal(objects(), 909);
  assert.equal(readdirSync(join(repository, 'images')).length, 3);
  await unmount(directory);
  await daemon.stop();
});

test('to root, the list of mounts has those that were being made when it was asked for', { skip }, async () => {
  // So large that to hash it takes a while.
  const image = at('large.erofs');
  makeErofs(image, { 'hello.txt': 'hello\n' });
  truncateSync(image, 2 ** 30);
  const large = importInto(image, 'large');
  daemon.writePolicy(policyText({ digests: [large], users: [UID], repositories: { [repository]: 'trusted' } }));
  assertDone(cfsctl('reload'), '');
  await actor.do(
    ({ client, store }, { address }) => {
      const connection = client.connect({ address });
      const receive = async (): Promise<void> => {
        store['mount'] = (await connection.mountImageAsync('large')).mount;
        connection.close();
      };
      store['coming'] = receive();
    },
    { address: daemon.address },
  );
  await daemon.eventually('the daemon has the image open', () =>
    [...daemon.fds().values()].some((name) => name.includes(large.slice(9))),
  );
  rmSync(join(repository, 'images', large.slice('sha256:'.length)));
  using client = connect({ address: daemon.address });
  assert.deepEqual(
    client.listMounts().map((entry) => entry.digest),
    [large],
  );
  await actor.do(({ store }) => store['coming'] as Promise<void>, {});
  await actor.do(({ store }) => (store['mount'] as { close(): void }).close(), {});
  await daemon.stop();
});

test('a bus on which nobody is the service says that there is none', { skip }, async () => {
  const bus = await startPrivateBus();
  try {
    const words = [CFSCTL, '--address', `bus:unix:path=${bus.socket}`, 'gc', '--repo', repository];
    assertDone(runAs(0, words), 'removed 0 objects, 0 bytes\n');
    bus.process.kill('SIGSTOP');
    const stopped = runAs(0, [...words, '--timeout', '0.5']);
    bus.process.kill('SIGCONT');
    assertRefused(stopped, /it cannot be told what is mounted: the service did not answer/);
  } finally {
    await bus.stop();
  }
});
