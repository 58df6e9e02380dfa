// Every entry of the sample's own tree, against what a caller finds in its mount.
import assert from 'node:assert/strict';
import { lstatSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Actor, type ActorOptions, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { makeSampleRepository, policyText } from '../support/images.js';
import { run, SHARED, withoutSample } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';
import { describeTree, type Tree, type TreeEntry } from '../support/tree.js';

const ENTRIES = 1354;
/** What an id shows as that the namespace does not map (kernel.overflowuid). */
const UNMAPPED = 65534;
const skip = withoutSample();
const scratch = makeScratch();
const reference = join(scratch.path, 'reference');
const archive = join(SHARED, 'sample/root.tar.gz');
let daemon: Daemon;
let digest: string;
let expected: Tree;

/** Users whose namespaces map 65,536 ids each, to different ids of the host. */
const USERS = [
  { uid: 4711, subordinate: 1_000_000 },
  { uid: 4712, subordinate: 2_000_000 },
] as const;

before(async () => {
  if (skip) return;
  mkdirSync(reference);
  run('tar', '-C', reference, '--xattrs', '--xattrs-include=*', '--numeric-owner', '-xpzf', archive);
  expected = describeTree(join(reference, 'root'));
  const repository = join(scratch.path, 'repository');
  digest = makeSampleRepository(repository);
  daemon = await startDaemon({ policy: policyText({ digests: [digest], repositories: { [repository]: 'trusted' } }) });
});
after(async () => {
  await daemon?.stop();
  scratch.remove();
});

/** Mounts the sample in the actor and leaves it mounted. */
function mountSample(actor: Actor): Promise<string> {
  return actor.do(
    ({ client, fs }, { address }) => {
      const connection = client.connect({ address });
      const { mount: received, result } = connection.mountImage('sample');
      const directory = fs.mkdtempSync('/tmp/cfsmountd-mnt-');
      client.attach(received, directory);
      received.close();
      connection.close();
      if (result.type !== 'composefs') throw new Error(`mounted as ${result.type}`);
      return directory;
    },
    { address: daemon.address },
  );
}

async function withMounted(options: ActorOptions, use: (actor: Actor, directory: string) => Promise<void>): Promise<void> {
  const actor = await startActor(options);
  try {
    const directory = await mountSample(actor);
    await use(actor, directory);
    await actor.do(
      ({ fs, mount }, { directory }) => {
        mount.umount2(directory, mount.MNT_DETACH);
        fs.rmdirSync(directory);
      },
      { directory },
    );
  } finally {
    await actor.stop();
  }
}

const readTree = (actor: Actor, directory: string): Promise<Tree> =>
  actor.do(({ tree }, { directory }) => tree.describeTree(directory), { directory });

/** The reference as root of a namespace sees it that maps no id but root's. */
function asWithOneId(tree: Tree): Tree {
  const shown = (id: number): number => (id === 0 ? 0 : UNMAPPED);
  const view = (entry: TreeEntry): TreeEntry => {
    const ids = { uid: shown(entry.uid), gid: shown(entry.gid) };
    if (entry.type !== 'file' || (entry.uid === 0 && entry.gid === 0)) return { ...entry, ...ids };
    // Nobody's privilege reaches an inode with an id that the layer's map lacks, not even overlayfs's own when it opens the file below,
    // and that one is neither the owner nor in the group: what is left are the rights of others.
    return parseInt(entry.mode, 8) & 0o004 ? { ...entry, ...ids } : { ...entry, ...ids, sha256: 'EACCES' };
  };
  return Object.fromEntries(Object.entries(tree).map(([name, entry]) => [name, view(entry)]));
}

function assertSameTree(actual: Tree, wanted: Tree): void {
  assert.equal(Object.keys(actual).length, ENTRIES);
  // Entry by entry first: a difference among 1,354 is then named and not drowned.
  for (const [name, entry] of Object.entries(wanted)) assert.deepEqual(actual[name], entry, name);
  assert.deepEqual(Object.keys(actual).sort(), Object.keys(wanted).sort());
}

test('the reference holds what makes the comparison worth it', { skip }, () => {
  assert.equal(Object.keys(expected).length, ENTRIES);
  const listed = run('tar', '-tzf', archive).trim().split('\n').length;
  assert.equal(listed, ENTRIES);
  const entries = Object.values(expected);
  const count = (type: TreeEntry['type']): number => entries.filter((entry) => entry.type === type).length;
  assert.deepEqual([count('file'), count('directory'), count('symlink'), count('fifo')], [910, 57, 386, 1]);
  assert.ok(
    entries.some(({ xattrs }) => xattrs?.['user.comment'] !== undefined),
    'a user xattr',
  );
  assert.ok(
    entries.some(({ uid, gid }) => uid === 1000 && gid === 1000),
    'ids other than 0',
  );
  assert.ok(
    entries.some(({ size }) => Number(size) > 1_000_000),
    'a file of many blocks',
  );
});

test(
  'two users at once, each with 65,536 ids of its own: all entries are as in the archive, from one object store',
  { skip },
  async () => {
    const [a, b] = USERS.map((user) => ({ ...user, namespace: 'many' as const }));
    await withMounted(a!, (first, firstDirectory) =>
      withMounted(b!, async (second, secondDirectory) => {
        const trees = await Promise.all([readTree(first, firstDirectory), readTree(second, secondDirectory)]);
        for (const tree of trees) assertSameTree(tree, expected);
        assert.equal(await first.do(({ client }, { address }) => client.connect({ address }).listMounts().length, daemon), 1);
      }),
    );
  },
);

test('seen from the host, the same entries belong to ids of the user whose mount it is', { skip }, async () => {
  const owned = Object.entries(expected).filter(([, { uid, gid }]) => uid === 1000 && gid === 1000);
  assert.ok(owned.length > 0);
  for (const user of USERS) {
    await withMounted({ ...user, namespace: 'many' }, (actor, directory) => {
      const onHost = (name: string) => lstatSync(join(`/proc/${actor.pid}/root${directory}`, name));
      assert.equal(onHost('.').uid, user.uid);
      for (const [name] of owned) {
        const { uid, gid } = onHost(name);
        assert.deepEqual([uid, gid], [user.subordinate + 999, user.subordinate + 999], name);
      }
      return Promise.resolve();
    });
  }
});

test('a namespace with one id: ids it lacks show as 65534, and all else is as in the archive', { skip }, async () => {
  const wanted = asWithOneId(expected);
  await withMounted({ uid: 4713 }, async (actor, directory) => assertSameTree(await readTree(actor, directory), wanted));
});
