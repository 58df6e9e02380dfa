// Row 7: overlayfs reads objects with the rights of the one who mounted, here root's. A caller whose image says "my data is at /secrets"
// passes a store in which that is a file only root can read. Defences: no O_PATH descriptors; a store of a caller's must be on a file
// system where the kernel can hold each object to its digest, and is made to do so. And what another has handed in is no store either: the
// daemon's copy of it is for those who have shown the same bytes (daemon/copies.ts).
import assert from 'node:assert/strict';
import { chmodSync, chownSync, linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { after, before, test } from 'node:test';

import type { OwnedFd } from '../../core/kernel/fd.js';
import { O_DIRECTORY, O_RDONLY, openPath } from '../../core/kernel/file.js';
import { measureVerity } from '../../core/kernel/verity.js';
import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { digestOfFile, makeErofs, makeSampleRepository, policyText } from '../support/images.js';
import { SHARED, withoutSample } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';

const UID = 4726;
const SECRET = 'the secret of root\n';
const skip = withoutSample();

const scratch = makeScratch();
/** Then a store is not refused: the kernel holds each object to its digest. */
const verity = hasVerity();
/** Where the image says that its data is. The kernel that checks is asked for the very object. */
const NAME = verity && !skip ? readSample().object : 'secrets'.padEnd(65, '-');
const image = join(scratch.path, 'hostile.cfs');
const repository = join(scratch.path, 'repository');
const closed = join(scratch.path, 'closed');
const open = join(scratch.path, 'open');
const own = join(scratch.path, 'own');
let daemon: Daemon;
let actor: Actor;

/** True if the directory of this test could have fs-verity. */
function hasVerity(): boolean {
  using directory = openPath(scratch.path, O_RDONLY | O_DIRECTORY);
  return measureVerity(directory).state !== 'unsupported';
}

/** The sample, and the path of the object that it names first, below its store. */
function readSample(): { bytes: Buffer; object: string } {
  const bytes = readFileSync(join(SHARED, 'sample/sample.cfs'));
  return { bytes, object: /\/([0-9a-f]{2}\/[0-9a-f]{62})/.exec(bytes.toString('latin1'))![1]! };
}

/** The sample, but the first file's data is said to be where the secret is, if that is not so anyway. */
function makeHostileImage(): string {
  const { bytes, object: path } = readSample();
  assert.equal(NAME.length, path.length);
  bytes.write(NAME, bytes.indexOf(path), 'latin1');
  writeFileSync(image, bytes, { mode: 0o644 });
  chmodSync(image, 0o644);
  return digestOfFile(image);
}

function makeOwnDirectory(name: string, fill: (path: string) => void): void {
  const path = join(own, name);
  mkdirSync(dirname(join(path, NAME)), { recursive: true });
  fill(path);
  chownSync(path, UID, UID);
}

before(async () => {
  if (skip) return;
  for (const directory of [closed, open]) {
    mkdirSync(dirname(join(directory, NAME)), { recursive: true });
    writeFileSync(join(directory, NAME), SECRET, { mode: 0o600 });
    chmodSync(directory, directory === open ? 0o755 : 0o700);
  }
  makeOwnDirectory('hard', (path) => linkSync(join(closed, NAME), join(path, NAME))); // as without fs.protected_hardlinks
  makeOwnDirectory('symbolic', (path) => symlinkSync(join(open, NAME), join(path, NAME)));
  makeOwnDirectory('relative', (path) => symlinkSync(relative(dirname(join(path, NAME)), join(open, NAME)), join(path, NAME)));
  makeOwnDirectory('file', (path) => writeFileSync(join(path, NAME), ''));
  makeOwnDirectory('point', () => {});
  chmodSync(own, 0o755);
  makeSampleRepository(repository);
  const digest = makeHostileImage();
  daemon = await startDaemon({ policy: policyText({ digests: [digest], repositories: { [repository]: 'trusted' } }) });
  actor = await startActor({ uid: UID });
});
after(async () => {
  await actor?.stop();
  await daemon?.stop();
  scratch.remove();
});

interface Way {
  /** Directories to open, in order. */
  readonly stores: readonly string[];
  readonly how?: 'detached' | 'attached' | 'O_PATH' | 'O_PATH, opened again' | 'open_tree' | 'open_tree, cloned';
  /** What to bind where before, in the caller's own mount namespace. */
  readonly bind?: readonly [from: string, to: string];
}

/** Each a store in which overlayfs, as root, would find the secret; or would not, and then so much the better. */
const READABLE: Readonly<Record<string, Way>> = {
  'a directory anybody may list': { stores: [open] },
  'a directory of its own with a hard link': { stores: [join(own, 'hard')] },
  'the second of two stores': { stores: [join(own, 'point'), join(own, 'hard')] },
  "after the service's own store": { stores: [join(repository, 'objects'), open] },
  'by way of /proc': { stores: [`/proc/self/root${open}`], how: 'attached' },
};
const PATHS: Readonly<Record<string, Way>> = {
  'a directory that only root may enter, by O_PATH': { stores: [closed], how: 'O_PATH' },
  'the same by open_tree': { stores: [closed], how: 'open_tree' },
  'the same, cloned by open_tree': { stores: [closed], how: 'open_tree, cloned' },
  'the same bound to a directory of its own': { stores: [join(own, 'point')], how: 'O_PATH', bind: [closed, join(own, 'point')] },
};
const NEVER: Readonly<Record<string, Way>> = {
  'a directory that only root may enter': { stores: [closed], how: 'attached' },
  'the same, in a detached copy': { stores: [closed] },
  'the same, opened again through /proc/self/fd': { stores: [closed], how: 'O_PATH, opened again' },
  'the same, bound': { stores: [join(own, 'point')], how: 'attached', bind: [closed, join(own, 'point')] },
  'a symlink': { stores: [join(own, 'symbolic')] },
  'a relative symlink': { stores: [join(own, 'relative')] },
  'a file bound over a file of its own': {
    stores: [join(own, 'file')],
    bind: [join(open, NAME), join(own, 'file', NAME)],
  },
};

interface Outcome {
  /** Error code of the service, or why the caller itself got no further; 'mounted' otherwise. */
  readonly what: string;
  /** Whether the secret was found in the mount. */
  readonly read: boolean;
  /** What opening and reading the files of the mount failed with. */
  readonly codes: readonly string[];
}

function attack({ stores, how = 'detached', bind }: Way): Promise<Outcome> {
  return actor
    .do(
      ({ client, file, fs, mount }, { address, image, stores, how, bind, secret }) => {
        const here = process.getBuiltinModule('node:path').join;
        const opened: OwnedFd[] = [];
        const keep = (fd: OwnedFd): OwnedFd => (opened.push(fd), fd);
        const openStore = (path: string): OwnedFd => {
          if (how === 'attached') return keep(file.openPath(path, file.O_RDONLY | file.O_DIRECTORY));
          const named = keep(file.openPath(path, file.O_PATH | file.O_DIRECTORY));
          if (how === 'O_PATH, opened again') return keep(file.reopen(named, file.O_RDONLY));
          // overlayfs takes no layer that is attached in another mount namespace than the daemon's, but a detached one.
          if (how === 'detached')
            return keep(file.openBeneath(keep(mount.openTreeClone(named)), '.', file.O_RDONLY | file.O_DIRECTORY));
          if (how === 'open_tree, cloned') return keep(mount.openTreeClone(named));
          return named;
        };
        const codes = new Set<string>();
        const search = (directory: string): boolean =>
          fs.readdirSync(directory, { withFileTypes: true }).some((entry) => {
            if (entry.isDirectory()) return search(here(directory, entry.name));
            if (!entry.isFile()) return false;
            try {
              return fs.readFileSync(here(directory, entry.name), 'latin1').includes(secret);
            } catch (error) {
              codes.add((error as { code: string }).code);
              return false;
            }
          });
        if (bind) {
          const tree = mount.openTreeClone(keep(file.openPath(bind[0], file.O_PATH)));
          mount.moveMount(keep(tree), null, bind[1]);
        }
        const connection = client.connect({ address });
        try {
          const fds = stores.map(openStore);
          const { mount: received } = connection.mountFile(keep(file.openPath(image, file.O_RDONLY)), fds);
          const read = search(`/proc/self/fd/${keep(received).raw}`);
          return { what: 'mounted', read, codes: [...codes] };
        } catch (error) {
          return { what: (error as { code?: string }).code ?? String(error), read: false, codes: [] };
        } finally {
          connection.close();
          for (const fd of opened) fd.close();
          if (bind) mount.umount2(bind[1], mount.MNT_DETACH);
        }
      },
      { address: daemon.address, image, stores, how, bind: bind ?? null, secret: SECRET.trim() },
    )
    .catch((error: Error & { code?: string }) => ({ what: error.code ?? error.message, read: false, codes: [] }));
}

for (const [name, way] of Object.entries({ ...READABLE, ...PATHS, ...NEVER })) {
  test(`the secret is not read: ${name}`, { skip }, async () => {
    const { read } = await attack(way);
    assert.equal(read, false, 'THE SECRET WAS READ through the mount');
  });
}

for (const [name, way] of Object.entries(READABLE)) {
  test(`there is no mount without fs-verity on the store: ${name}`, { skip: skip || verity }, async () => {
    assert.equal((await attack(way)).what, 'NotSupported');
  });
  test(`with it, what is not the object cannot be opened: ${name}`, { skip: skip || !verity }, async () => {
    const { what, codes } = await attack(way);
    // overlayfs takes no directory that is attached in another mount namespace.
    if (way.how === 'attached') return assert.equal(what, 'Failed');
    assert.equal(what, 'mounted');
    // The other objects are not there, or not for the caller.
    assert.ok(codes.includes('EIO'), codes.join());
  });
}

for (const [name, way] of Object.entries(PATHS)) {
  test(`a descriptor that proves no right to read is refused: ${name}`, { skip }, async () => {
    assert.equal((await attack(way)).what, 'BadRequest');
  });
}

test('where the kernel already refuses, it does', { skip }, async () => {
  const outcomes: Record<string, string> = {};
  const refused = verity ? 'mounted' : 'NotSupported';
  for (const [name, way] of Object.entries(NEVER)) outcomes[name] = (await attack(way)).what;
  assert.deepEqual(outcomes, {
    'a directory that only root may enter': 'EACCES',
    'the same, in a detached copy': 'EACCES',
    'the same, opened again through /proc/self/fd': 'EACCES',
    'the same, bound': 'EACCES',
    'a symlink': refused,
    'a relative symlink': refused,
    'a file bound over a file of its own': refused,
  });
});

test('a repository that must be checked is refused on this kernel, too', { skip: skip || verity }, async () => {
  const policy = policyText({
    digests: [digestOfFile(join(scratch.path, 'sample.cfs'))],
    repositories: { [repository]: 'verity' },
  });
  const strict = await startDaemon({ policy });
  try {
    const code = await actor.do(
      ({ client }, { address }) => {
        const connection = client.connect({ address });
        try {
          connection.mountImage('sample').mount.close();
          return 'mounted';
        } catch (error) {
          return (error as { code?: string }).code;
        } finally {
          connection.close();
        }
      },
      { address: strict.address },
    );
    assert.equal(code, 'NotSupported');
  } finally {
    await strict.stop();
  }
});

/** Mounts some file, saying that it has a digest; returns what a file of the mount says, or the code of the error. */
function mountByDigest(who: Actor, address: string, image: string, digest: string): Promise<string> {
  return who.do(
    ({ client, file, fs }, { address, image, digest }) => {
      const connection = client.connect({ address });
      const fd = file.openPath(image, file.O_RDONLY);
      try {
        const { mount } = connection.mountFile(fd, [], { digest });
        const text = fs.readFileSync(`/proc/self/fd/${mount.raw}/secret.txt`, 'latin1');
        mount.close();
        return text;
      } catch (error) {
        return (error as { code: string }).code;
      } finally {
        fd.close();
        connection.close();
      }
    },
    { address, image, digest },
  );
}

test('an image that another has handed in, and nobody else may read, is not had for its digest', async () => {
  const [hidden, shown] = [join(scratch.path, 'hidden.erofs'), join(scratch.path, 'shown.erofs')];
  const digest = makeErofs(hidden, { 'secret.txt': SECRET });
  makeErofs(shown, { 'other.txt': 'not a secret\n' });
  chownSync(hidden, UID + 1, UID + 1);
  chmodSync(hidden, 0o600);
  const other = await startDaemon({ policy: policyText({ digests: [digest] }) });
  const owner = await startActor({ uid: UID + 1 });
  const stranger = await startActor({ uid: UID });
  try {
    assert.equal(await mountByDigest(owner, other.address, hidden, digest), SECRET);
    assert.equal(
      await mountByDigest(stranger, other.address, hidden, digest).catch((error: Error) => error.message),
      'openat2: EACCES',
    );
    assert.equal(await mountByDigest(stranger, other.address, shown, digest), 'BadImage');
    // Whoever has shown the bytes need not show them again: that is what the copy is for.
    assert.equal(await mountByDigest(owner, other.address, shown, digest), SECRET);
  } finally {
    await Promise.all([owner.stop(), stranger.stop()]);
    await other.stop();
  }
});
