// A tree of many entries, taken from this machine's own /usr: imported, checked by other tools, mounted through the daemon, compared with its source.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { policyText } from '../support/images.js';
import { DIST, run } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';
import { describeTree, type Tree } from '../support/tree.js';

const ENTRIES = 50_000;
/** Larger files take time and show nothing new: the sample has some. */
const LARGEST = '64k';
const scratch = makeScratch();
const tree = join(scratch.path, 'tree');
const repository = join(scratch.path, 'repository');
let digest: string;
let daemon: Daemon;

/** Copies entries of /usr until there are enough; a small /usr is copied more than once. */
function copyEntries(): void {
  const select = `find . -xdev '(' -type d -o -type l -o -type f -size -${LARGEST} ')' -print0`;
  for (let copy = 0, have = 0; have < ENTRIES; copy++) {
    const target = join(tree, `usr-${copy}`);
    mkdirSync(target, { recursive: true });
    // head ends before find does, which is no failure.
    const list = `{ ${select} 2>/dev/null || true; } | head -z -n ${ENTRIES - have + 1}`;
    run('bash', '-c', `cd /usr && ${list} | tar --null --no-recursion -T - -cf - | tar -C '${target}' -xpf -`);
    have += Number(run('bash', '-c', `find '${target}' | wc -l`));
  }
}

before(async () => {
  copyEntries();
  const report = run(join(DIST, 'cfsctl'), '--json', 'import', '--repo', repository, tree, 'usr');
  digest = (JSON.parse(report) as { digest: string }).digest;
  daemon = await startDaemon({ policy: policyText({ digests: [digest], repositories: { [repository]: 'trusted' } }) });
});
after(async () => {
  await daemon?.stop();
  scratch.remove();
});

test('fsck.erofs and dump.erofs accept the image', () => {
  const hex = digest.slice('sha256:'.length);
  const image = join(repository, 'images', hex);
  assert.ok(readdirSync(join(repository, 'images')).includes(hex));
  run('fsck.erofs', image);
  assert.match(run('dump.erofs', '-s', image), /Filesystem inode count:\s+\d{5,}/);
});

test(`${ENTRIES} entries mounted through the daemon are as in the source`, { timeout: 300_000 }, async () => {
  const expected = describeTree(tree);
  assert.ok(Object.keys(expected).length >= ENTRIES);
  const actor = await startActor({ uid: 4711, subordinate: 1_000_000, namespace: 'many' });
  try {
    const actual: Tree = await actor.do(
      ({ client, fs, mount, tree }, { address }) => {
        const connection = client.connect({ address });
        const { mount: received } = connection.mountImage('usr');
        const directory = fs.mkdtempSync('/tmp/cfsmountd-mnt-');
        client.attach(received, directory);
        received.close();
        connection.close();
        const seen = tree.describeTree(directory);
        mount.umount2(directory, mount.MNT_DETACH);
        fs.rmdirSync(directory);
        return seen;
      },
      { address: daemon.address },
    );
    // Entry by entry first: a difference among so many is then named and not drowned.
    for (const [name, entry] of Object.entries(expected)) assert.deepEqual(actual[name], entry, name);
    assert.deepEqual(Object.keys(actual).sort(), Object.keys(expected).sort());
  } finally {
    await actor.stop();
  }
});
