// Row 14: where the files of a composefs image point. overlayfs follows redirects with the daemon's rights. Defences: the reader refuses redirects that do not start at the
// root of a store, the daemon those that do not plainly stay in it or, where objects have to prove what they are, are not the place of a digest; and overlayfs follows no
// symlink in a data-only layer.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';

import { isErrno } from '../../core/kernel/error.js';
import type { OwnedFd } from '../../core/kernel/fd.js';
import { O_DIRECTORY, O_RDONLY, openBeneath, openPath, openWithin, readAt } from '../../core/kernel/file.js';
import { MNT_DETACH, moveMount, umount2 } from '../../core/kernel/mount.js';
import { mountErofs } from '../../daemon/build-mount.js';
import { mountOverlay, mountOverlayOfPaths } from '../../daemon/overlay.js';
import { type Actor, startActor } from '../support/actor.js';
import { composefsOf, externalFile, objectOf, putObject } from '../support/composefs.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, digestOfBytes, policyText } from '../support/images.js';
import { imageCallsDuring } from '../support/image-calls.js';
import { makeScratch } from '../support/scratch.js';

const UID = 4733;
const SECRET = 'what only root may read\n';
const OPEN = 'what everybody may read\n';

const scratch = makeScratch();
const repository = join(scratch.path, 'repository');
const objects = join(repository, 'objects');
const own = join(scratch.path, 'own');
let daemon: Daemon;
let actor: Actor;

/** As bytes of the image: the writer puts the first slash, which is patched where the redirect shall have none. */
interface Redirect {
  readonly to: string;
  readonly relative?: true;
}

const HOSTILE: Readonly<Record<string, Redirect>> = {
  'one level up': { to: '../secret' },
  'up from below': { to: 'aa/../../secret' },
  'up and back': { to: `../objects/${objectOf(OPEN).place}` },
  'nothing but up': { to: '..' },
  'up at the end': { to: 'aa/..' },
  'an absolute path': { to: '/etc/shadow' },
  'an empty part': { to: 'aa//bb' },
  'a slash at the end': { to: `${objectOf(OPEN).place}/` },
  'a part that is a dot': { to: `./${objectOf(OPEN).place}` },
  'relative, no slash in front': { to: 'zecret', relative: true },
  'relative, with slashes': { to: 'zepository/../../secret', relative: true },
};
/** Plain paths: taken, and whatever is there that is no object is not read. */
const ODD: Readonly<Record<string, string>> = {
  'a symlink to a secret file': 'aa/link',
  'a symlink in the store': 'aa/inside',
  'below a symlink to a directory': 'up/secret',
  'below a symlink to the root': 'root/etc/shadow',
  'nothing at all': 'aa/nothing',
  'a directory': 'aa',
};

const images = new Map<string, { path: string; digest: string }>();

function addImage(name: string, bytes: Uint8Array): void {
  const path = join(scratch.path, `${images.size}.cfs`);
  writeFileSync(path, bytes);
  chmodSync(path, 0o644);
  images.set(name, { path, digest: digestOfBytes(bytes) });
}

function imageOf({ to, relative }: Redirect): Uint8Array {
  const bytes = composefsOf([externalFile('/file', OPEN, to)]);
  if (relative !== true) return bytes;
  const at = Buffer.from(bytes).indexOf(`/${to}`);
  assert.ok(at > 0);
  bytes.set(Buffer.from(`x${to}`), at);
  return bytes;
}

before(async () => {
  putObject(objects, objectOf(OPEN).place, OPEN);
  mkdirSync(join(objects, 'aa'), { recursive: true });
  writeFileSync(join(repository, 'secret'), SECRET, { mode: 0o600 });
  symlinkSync('../../secret', join(objects, 'aa/link'));
  symlinkSync(`../${objectOf(OPEN).place}`, join(objects, 'aa/inside'));
  symlinkSync('..', join(objects, 'up'));
  symlinkSync('/', join(objects, 'root'));
  putObject(own, objectOf(OPEN).place, OPEN);
  for (const [name, redirect] of Object.entries(HOSTILE)) addImage(name, imageOf(redirect));
  for (const [name, to] of Object.entries(ODD)) addImage(name, imageOf({ to }));
  addImage('the place of its digest', imageOf({ to: objectOf(OPEN).place }));
  addImage('no digest', composefsOf([`/file ${OPEN.length} 100644 1 0 0 0 0.0 ${objectOf(OPEN).place} - -`]));
  addImage('no redirect', composefsOf([`/file ${OPEN.length} 100644 1 0 0 0 0.0 - - ${objectOf(OPEN).hex}`]));
  for (const { path } of images.values()) addToRepository(repository, path);
  const digests = [...images.values()].map(({ digest }) => digest);
  daemon = await startDaemon({ policy: policyText({ digests, repositories: { [repository]: 'trusted' } }) });
  actor = await startActor({ uid: UID });
});
after(async () => {
  await actor?.stop();
  await daemon?.stop();
  scratch.remove();
});

type Way = 'mount image' | 'mount file' | 'check image' | 'check file' | 'check file with a store of its own';
const WAYS: readonly Way[] = ['mount image', 'mount file', 'check image', 'check file', 'check file with a store of its own'];

/** The code of a refusal, the verdict of a check, or what the mounted file holds. */
function ask(name: string, way: Way): Promise<string> {
  const { path, digest } = images.get(name)!;
  return actor.do(
    ({ client, file, fs }, { address, path, digest, way, objects, own }) => {
      const connection = client.connect({ address });
      const fd = file.openPath(path, file.O_RDONLY);
      const store = file.openPath(way.endsWith('own') ? own : objects, file.O_RDONLY | file.O_DIRECTORY);
      try {
        if (way === 'check image') return connection.checkImage(digest).verdict;
        if (way.startsWith('check file')) return connection.checkFile(fd, [store]).verdict;
        const { mount } = way === 'mount image' ? connection.mountImage(digest) : connection.mountFile(fd, [store]);
        try {
          return fs.readFileSync(`/proc/self/fd/${mount.raw}/file`, 'latin1');
        } finally {
          mount.close();
        }
      } catch (error) {
        return (error as { code?: string }).code ?? String(error);
      } finally {
        for (const one of [fd, store]) one.close();
        connection.close();
      }
    },
    { address: daemon.address, path, digest, way, objects, own },
  );
}

test('an image whose files point to the place of their digest is mounted and read', async () => {
  for (const way of ['mount image', 'mount file'] as const) assert.equal(await ask('the place of its digest', way), OPEN);
  for (const way of ['check image', 'check file', 'check file with a store of its own'] as const)
    assert.equal(await ask('the place of its digest', way), 'allow');
});

for (const name of Object.keys(HOSTILE)) {
  test(`refused, and the kernel does not see it: ${name}`, async () => {
    const outcomes: string[] = [];
    const calls = await imageCallsDuring(daemon.pid, async () => {
      for (const way of WAYS) outcomes.push(await ask(name, way));
    });
    assert.deepEqual(outcomes, ['BadImage', 'BadImage', 'BadImage', 'BadImage', 'BadImage']);
    assert.deepEqual(calls, []);
  });
}

for (const name of Object.keys(ODD)) {
  test(`gives nothing: ${name}`, async () => {
    for (const way of ['mount image', 'mount file'] as const) {
      const outcome = await ask(name, way);
      assert.ok(['EIO', 'ENOENT', 'ELOOP', 'EXDEV'].includes(outcome), `${way}: ${outcome}`);
    }
  });
}

for (const name of [...Object.keys(ODD), 'no digest', 'no redirect']) {
  test(`refused where objects have to prove what they are: ${name}`, async () => {
    assert.equal(await ask(name, 'check file with a store of its own'), 'BadImage');
    assert.equal(await ask(name, 'check file'), 'allow', 'with a store that only root can write it is taken');
  });
}

/** By descriptor, or, before Linux 6.15, by paths of attached layers. */
function joinLayers(erofs: OwnedFd, store: OwnedFd): OwnedFd {
  const options = { name: 'bare', requireVerity: false };
  try {
    return mountOverlay({ erofs, objects: [store], ...options }, 0);
  } catch (error) {
    if (!isErrno(error, 'EBADF', 'EINVAL')) throw error;
  }
  const place = join(scratch.path, 'bare');
  mkdirSync(place, { recursive: true });
  moveMount(erofs, null, place);
  try {
    return mountOverlayOfPaths('paths', place, [objects], options, 0);
  } finally {
    umount2(place, MNT_DETACH);
  }
}

/** What overlayfs itself does with a redirect, and nothing of ours in the way. */
function readThroughOverlay(to: string): string {
  const image = join(scratch.path, 'bare.cfs');
  writeFileSync(image, imageOf({ to }));
  using file = openPath(image, O_RDONLY);
  using erofs = mountErofs(file, { type: 'composefs', hasAcl: false }, 0);
  using store = openPath(objects, O_RDONLY | O_DIRECTORY);
  using overlay = joinLayers(erofs, store);
  try {
    using opened = openWithin(overlay, 'file', O_RDONLY);
    const buffer = Buffer.alloc(64);
    return buffer.toString('latin1', 0, readAt(opened, buffer, 0));
  } catch (error) {
    if (isErrno(error, 'EIO', 'ENOENT', 'ELOOP', 'EXDEV')) return 'refused';
    throw error;
  }
}

test('overlayfs, the second wall, follows neither .. nor symlinks in a data-only layer', () => {
  assert.equal(readThroughOverlay(objectOf(OPEN).place), OPEN);
  for (const to of ['../secret', 'aa/../../secret', `../objects/${objectOf(OPEN).place}`, ...Object.values(ODD)])
    assert.equal(readThroughOverlay(to), 'refused', to);
  // The store is as it was: what is refused is there to be found.
  using store = openPath(objects, O_RDONLY | O_DIRECTORY);
  using found = openBeneath(store, objectOf(OPEN).place, O_RDONLY);
  assert.ok(found.raw > 0 && dirname(objects) === repository);
});
