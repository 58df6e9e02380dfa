// Row 3: device nodes in an image. Defences: the image is read before it is mounted, and a rule has to say that it may have device nodes; even then the mount is
// nodev, so that none of them opens.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import type { OwnedFd } from '../../core/kernel/fd.js';
import { type Actor, startActor } from '../support/actor.js';
import { composefsOf } from '../support/composefs.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, digestOfFile, policyText } from '../support/images.js';
import { imageCallsDuring } from '../support/image-calls.js';
import { run } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';

const UID = 4732;
/** Names of the device nodes that each image has: /dev/zero, and the first loop device. */
const KINDS = {
  'block node in a plain image': ['disk'],
  'character node in a plain image': ['zero'],
  'block node deep in a plain image, under two names': ['a/b/c/disk', 'again'],
  'compressed plain image': ['disk', 'zero'],
  'block node in a composefs image': ['disk'],
  'character node in a composefs image': ['a/zero'],
  'block node in a composefs image, under two names': ['a/disk', 'again'],
} as const;
type Kind = keyof typeof KINDS;
const kinds = Object.keys(KINDS) as Kind[];

const scratch = makeScratch();
const repository = join(scratch.path, 'repository');
const pathOf = (kind: Kind): string => join(scratch.path, `${kind.replaceAll(' ', '-')}.img`);
let strict: Daemon;
let lax: Daemon;
let actor: Actor;

function makePlain(kind: Kind, ...flags: string[]): void {
  const tree = join(scratch.path, `tree-${kinds.indexOf(kind)}`);
  mkdirSync(join(tree, 'a/b/c'), { recursive: true });
  writeFileSync(join(tree, 'hello'), 'hello\n');
  const [first, ...links] = KINDS[kind].map((name) => join(tree, name));
  for (const name of [first!, ...(kind.includes('two names') ? [] : links)]) {
    run('mknod', '-m', '0666', name, ...(name.endsWith('zero') ? ['c', '1', '5'] : ['b', '7', '0']));
  }
  if (kind.includes('two names')) run('ln', first!, links[0]!);
  chmodSync(tree, 0o755);
  run('mkfs.erofs', '--quiet', ...flags, pathOf(kind), tree);
}

function makeComposefs(kind: Kind): void {
  const [first, second] = KINDS[kind];
  // 0o20666 and 0o60666; 1:5 is /dev/zero, 7:0 the first loop device.
  const device = first.endsWith('zero') ? '20666 1 0 0 261' : '60666 1 0 0 1792';
  const link = second === undefined ? [] : [`/${second} - @60666 - - - - - /${first}`];
  writeFileSync(
    pathOf(kind),
    composefsOf([
      '/a 0 40755 2 0 0 0 0.0 - - -',
      '/hello 6 100644 1 0 0 0 0.0 - hello\\n -',
      `/${first} 0 ${device} 0.0 - - -`,
      ...link,
    ]),
  );
}

before(async () => {
  mkdirSync(join(repository, 'objects'), { recursive: true });
  for (const kind of kinds) {
    if (kind.includes('composefs')) makeComposefs(kind);
    else makePlain(kind, ...(kind.includes('compressed') ? ['-zlz4'] : []));
    chmodSync(pathOf(kind), 0o644);
    addToRepository(repository, pathOf(kind));
  }
  run('chmod', '-R', 'go-w', repository);
  const digests = kinds.map((kind) => digestOfFile(pathOf(kind)));
  const options = { digests, repositories: { [repository]: 'trusted' } } as const;
  strict = await startDaemon({ policy: policyText(options) });
  lax = await startDaemon({ policy: policyText({ ...options, conditions: 'devices = "allow"' }) });
  actor = await startActor({ uid: UID });
});
after(async () => {
  await actor?.stop();
  await strict?.stop();
  await lax?.stop();
  scratch.remove();
});

/** Mounts an image by its digest, or as a file, and keeps the mount; returns what was refused. */
function receive(daemon: Daemon, kind: Kind, way: 'file' | 'image'): Promise<string> {
  return actor.do(
    ({ client, file, store }, { address, path, digest, store: objects }) => {
      const connection = client.connect({ address });
      const opened = path === null ? undefined : file.openPath(path, file.O_RDONLY);
      const directory = objects === null ? undefined : file.openPath(objects, file.O_RDONLY | file.O_DIRECTORY);
      try {
        const { mount } = opened ? connection.mountFile(opened, directory ? [directory] : []) : connection.mountImage(digest);
        store['received'] = mount;
        return 'mounted';
      } catch (error) {
        const { code, message } = error as { code?: string; message: string };
        return `${code}: ${message}`;
      } finally {
        opened?.close();
        directory?.close();
        connection.close();
      }
    },
    {
      address: daemon.address,
      path: way === 'file' ? pathOf(kind) : null,
      digest: digestOfFile(pathOf(kind)),
      store: way === 'file' && kind.includes('composefs') ? join(repository, 'objects') : null,
    },
  );
}

for (const kind of kinds) {
  test(`refused unless a rule says so: ${kind}`, async () => {
    const outcomes: string[] = [];
    const calls = await imageCallsDuring(strict.pid, async () => {
      for (const way of ['file', 'image'] as const) outcomes.push(await receive(strict, kind, way));
    });
    const nodes = kind.includes('two names') ? 1 : KINDS[kind].length;
    const because = `NotTrusted: the image has ${nodes} device node${nodes === 1 ? '' : 's'}, and rule "test" says devices = "deny"`;
    assert.deepEqual(outcomes, [because, because]);
    assert.deepEqual(calls, [], 'the kernel saw the image');
  });

  test(`where a rule says so, it is mounted and none of the nodes opens: ${kind}`, async () => {
    for (const way of ['file', 'image'] as const) {
      assert.equal(await receive(lax, kind, way), 'mounted');
      const opened = await actor.do(
        ({ fs, store, mount }, { names }) => {
          const received = store['received'] as OwnedFd;
          const directory = fs.mkdtempSync('/tmp/cfsmountd-mnt-');
          const attempt = (path: string): string => {
            try {
              const fd = fs.openSync(path, 'r');
              fs.closeSync(fd);
              return 'opened';
            } catch (error) {
              return (error as { code?: string }).code ?? 'failed';
            }
          };
          const all = (root: string): string[] => [...names, 'hello'].map((name) => attempt(`${root}/${name}`));
          const detached = all(`/proc/self/fd/${received.raw}`);
          mount.moveMount(received, null, directory);
          received.close();
          const attached = all(directory);
          mount.umount2(directory, mount.MNT_DETACH);
          fs.rmdirSync(directory);
          return { detached, attached };
        },
        { names: [...KINDS[kind]] },
      );
      const expected = [...KINDS[kind].map(() => 'EACCES'), 'opened'];
      assert.deepEqual(opened, { detached: expected, attached: expected });
    }
  });
}

test('whiteouts are no device nodes: an image with one is mounted under a rule that says nothing', async () => {
  const image = join(scratch.path, 'whiteout.cfs');
  writeFileSync(image, composefsOf(['/gone 0 20666 1 0 0 0 0.0 - - -']));
  chmodSync(image, 0o644);
  const daemon = await startDaemon({
    policy: policyText({ digests: [digestOfFile(image)], repositories: { [repository]: 'trusted' } }),
  });
  try {
    const report = await actor.do(
      ({ client, file }, { address, image }) => {
        const connection = client.connect({ address });
        const fd = file.openPath(image, file.O_RDONLY);
        try {
          connection.mountFile(fd, []).mount.close();
          return connection.checkFile(fd, []);
        } finally {
          fd.close();
          connection.close();
        }
      },
      { address: daemon.address, image },
    );
    assert.deepEqual([report.verdict, report.devices], ['allow', 0]);
  } finally {
    await daemon.stop();
  }
});
