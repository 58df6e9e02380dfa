// Row 28: what a caller writes never becomes an xattr that overlayfs obeys. Defences: the service's overlay obeys trusted.* alone, which no caller can set; the reader
// refuses images whose own trusted.overlay.* say anything but where their files are; the writable layer of a caller is stacked by the caller, and obeys user.* alone.
import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import type { OwnedFd } from '../../core/kernel/fd.js';
import { bind } from '../../core/kernel/libc.js';
import { type Actor, startActor } from '../support/actor.js';
import { composefsOf, externalFile, objectOf, putObject } from '../support/composefs.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, digestOfBytes, policyText } from '../support/images.js';
import { imageCallsDuring } from '../support/image-calls.js';
import { run } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';
import { setXattr } from '../support/source-tree.js';

const UID = 4735;
const llistxattr = bind('llistxattr', ['path', 'buffer', 'u64'], 'long');

const scratch = makeScratch();
const repository = join(scratch.path, 'repository');
const objects = join(repository, 'objects');
const home = join(scratch.path, 'home');
const images = new Map<string, { path: string; digest: string }>();
let daemon: Daemon;
let actor: Actor;

/** Keys of the length of the real ones, which are put in their place when the image is written: the writer would escape them. */
const DISGUISE = 'trusted.0verlay.';
const REAL = 'trusted.overlay.';

/** An image in which the disguised xattrs are what they stand for, and no name filter hides any. */
function unmask(bytes: Uint8Array): Uint8Array {
  const text = Buffer.from(bytes);
  // In an image the prefix `trusted.` is a number: what follows it is text.
  const from = DISGUISE.slice('trusted.'.length);
  const first = text.indexOf(from);
  assert.ok(first > 0, 'nothing was disguised');
  for (let at = first; at >= 0; at = text.indexOf(from, at + 1)) text.write(REAL.slice('trusted.'.length), at, 'latin1');
  // Before the first entry (4 bytes and its name) stands the header of 12 bytes, its name filter first: that it denies nothing.
  text.writeUInt32LE(0, first - 4 - 12);
  return new Uint8Array(text);
}

function addImage(name: string, bytes: Uint8Array): void {
  const path = join(scratch.path, `${images.size}.img`);
  writeFileSync(path, bytes);
  chmodSync(path, 0o644);
  images.set(name, { path, digest: digestOfBytes(bytes) });
}

/** Marks of overlayfs in `user.` : what they would do if they were obeyed is seen in what the mount shows. */
const USER_MARKS = [
  '/target 7 100644 1 0 0 0 0.0 - target\\n -',
  '/redirected 4 100644 1 0 0 0 0.0 - own\\n - user.overlay.redirect=/target user.overlay.metacopy=',
  '/opaque 0 40755 2 0 0 0 0.0 - - - user.overlay.opaque=y',
  '/opaque/inside 4 100644 1 0 0 0 0.0 - own\\n -',
  '/marked 0 40755 2 0 0 0 0.0 - - - user.overlay.opaque=x user.overlay.whiteouts=',
  '/marked/gone 0 100644 1 0 0 0 0.0 - - - user.overlay.whiteout=',
  `${externalFile('/external', 'the object\n')} user.overlay.redirect=/target`,
];
/** The same in `trusted.` as the author's own data: the writer escapes them. */
const ESCAPED = [
  '/target 7 100644 1 0 0 0 0.0 - target\\n -',
  '/redirected 4 100644 1 0 0 0 0.0 - own\\n - trusted.overlay.redirect=/target trusted.overlay.metacopy=',
  '/opaque 0 40755 2 0 0 0 0.0 - - - trusted.overlay.opaque=y',
  '/opaque/inside 4 100644 1 0 0 0 0.0 - own\\n -',
];
const FORGED: Readonly<Record<string, string>> = {
  'a file of its own bytes with a redirect': `/f 4 100644 1 0 0 0 0.0 - own\\n - ${DISGUISE}redirect=/etc/shadow`,
  'a file of its own bytes that is a metacopy': `/f 4 100644 1 0 0 0 0.0 - own\\n - ${DISGUISE}metacopy=`,
  both: `/f 4 100644 1 0 0 0 0.0 - own\\n - ${DISGUISE}metacopy= ${DISGUISE}redirect=/etc/shadow`,
  'an empty file that is a metacopy': `/f 0 100644 1 0 0 0 0.0 - - - ${DISGUISE}metacopy=`,
  'a directory with a redirect': `/d 0 40755 2 0 0 0 0.0 - - - ${DISGUISE}redirect=/other`,
  'a link that is a metacopy': `/l 1 120777 1 0 0 0 0.0 t - - ${DISGUISE}metacopy=`,
};

before(async () => {
  mkdirSync(home);
  chownSync(home, UID, UID);
  putObject(objects, objectOf('the object\n').place, 'the object\n');
  // The administrator's own store: marks on objects mean nothing either.
  const object = join(objects, objectOf('the object\n').place);
  for (const mark of ['user.overlay.redirect', 'trusted.overlay.redirect']) setXattr(object, mark, Buffer.from('/target'));
  for (const mark of ['user.overlay.metacopy', 'trusted.overlay.metacopy']) setXattr(object, mark, Buffer.from(''));
  addImage('user', composefsOf(USER_MARKS));
  addImage('escaped', composefsOf(ESCAPED));
  for (const [name, line] of Object.entries(FORGED)) addImage(name, unmask(composefsOf([line])));
  const plain = join(scratch.path, 'tree');
  mkdirSync(join(plain, 'opaque'), { recursive: true });
  for (const [name, text] of [
    ['target', 'target\n'],
    ['redirected', 'own\n'],
    ['opaque/inside', 'own\n'],
  ] as const)
    writeFileSync(join(plain, name), text);
  for (const space of ['user', 'trusted']) {
    setXattr(join(plain, 'redirected'), `${space}.overlay.redirect`, Buffer.from('/target'));
    setXattr(join(plain, 'redirected'), `${space}.overlay.metacopy`, Buffer.from(''));
    setXattr(join(plain, 'opaque'), `${space}.overlay.opaque`, Buffer.from('y'));
  }
  run('mkfs.erofs', '--quiet', join(scratch.path, 'plain.erofs'), plain);
  chmodSync(join(scratch.path, 'plain.erofs'), 0o644);
  const path = join(scratch.path, 'plain.erofs');
  images.set('plain', { path, digest: addToRepository(repository, path) });
  for (const [name, image] of images) if (name !== 'plain') addToRepository(repository, image.path);
  const digests = [...images.values()].map(({ digest }) => digest);
  daemon = await startDaemon({ policy: policyText({ digests, repositories: { [repository]: 'trusted' } }) });
  actor = await startActor({ uid: UID });
});
after(async () => {
  await actor?.stop();
  await daemon?.stop();
  scratch.remove();
});

/** What the files of a mount hold, by path; the code of a refusal. */
function show(name: string, paths: readonly string[]): Promise<Record<string, string> | string> {
  return actor.do(
    ({ client, fs }, { address, digest, paths }) => {
      const connection = client.connect({ address });
      try {
        const { mount } = connection.mountImage(digest);
        const read = (path: string): string => {
          try {
            return fs.readFileSync(`/proc/self/fd/${mount.raw}/${path}`, 'latin1');
          } catch (error) {
            return (error as { code?: string }).code ?? 'failed';
          }
        };
        const shown = Object.fromEntries(paths.map((path) => [path, read(path)]));
        mount.close();
        return shown;
      } catch (error) {
        return (error as { code?: string }).code ?? String(error);
      } finally {
        connection.close();
      }
    },
    { address: daemon.address, digest: images.get(name)!.digest, paths },
  );
}

test('marks in user.* of a trusted image, and on objects of a store, are nothing but data', async () => {
  const paths = ['redirected', 'opaque/inside', 'marked/gone', 'external'];
  assert.deepEqual(await show('user', paths), {
    redirected: 'own\n',
    'opaque/inside': 'own\n',
    'marked/gone': '',
    external: 'the object\n',
  });
});

test('trusted.overlay.* of a tree are escaped in its image, and obeyed by nobody', async () => {
  assert.deepEqual(await show('escaped', ['redirected', 'opaque/inside']), { redirected: 'own\n', 'opaque/inside': 'own\n' });
});

test('a plain image is mounted as it is: no overlay obeys its marks', async () => {
  assert.deepEqual(await show('plain', ['redirected', 'opaque/inside']), { redirected: 'own\n', 'opaque/inside': 'own\n' });
});

for (const name of Object.keys(FORGED)) {
  test(`an image with marks that no writer makes is refused, and the kernel does not see it: ${name}`, async () => {
    let outcome: unknown;
    const calls = await imageCallsDuring(daemon.pid, async () => {
      outcome = await show(name, ['f']);
    });
    assert.equal(outcome, 'BadImage');
    assert.deepEqual(calls, []);
  });
}

/** Names of all xattrs below a directory, as root sees them. */
function xattrsBelow(directory: string): string[] {
  const list = Buffer.alloc(65_536);
  const paths = run('find', directory, '-print0')
    .split('\0')
    .filter((path) => path !== '');
  const names = paths.flatMap((path) => list.toString('latin1', 0, llistxattr(path, list, list.length)).split('\0'));
  return [...new Set(names.filter((name) => name !== ''))].sort();
}

test("a caller's writable layer over a mount keeps its marks in user.*, whatever the caller writes and names", async () => {
  for (const kind of ['user', 'plain']) {
    const upper = join(home, `upper-${kind}`);
    const work = join(home, `work-${kind}`);
    for (const directory of [upper, work]) {
      mkdirSync(directory);
      chownSync(directory, UID, UID);
    }
    const outcome = await actor.do(
      ({ client, fs, mount, libc }, { address, digest, upper, work }) => {
        const connection = client.connect({ address });
        const received: OwnedFd = connection.mountImage(digest).mount;
        connection.close();
        const directory = fs.mkdtempSync('/tmp/cfsmountd-mnt-');
        client.attachWritable(received, { upperdir: upper, workdir: work }, directory);
        received.close();
        // Everything that makes overlayfs keep a mark: copy up, rename, delete, and names that look like marks.
        fs.appendFileSync(`${directory}/target`, 'more\n');
        fs.mkdirSync(`${directory}/made`);
        fs.rmSync(`${directory}/opaque`, { recursive: true });
        fs.mkdirSync(`${directory}/opaque`);
        fs.writeFileSync(`${directory}/trusted.overlay.redirect`, '/etc/shadow');
        const setxattr = libc.bind('setxattr', ['path', 'path', 'buffer', 'u64', 'int']);
        const attempt = (name: string): string => {
          const value = Buffer.from('/etc/shadow');
          try {
            setxattr(`${directory}/target`, name, value, value.length, 0);
            return 'set';
          } catch (error) {
            return (error as { code?: string }).code ?? String(error);
          }
        };
        const outcomes = ['trusted.overlay.redirect', 'trusted.other', 'user.overlay.redirect'].map(attempt);
        mount.umount2(directory, mount.MNT_DETACH);
        fs.rmdirSync(directory);
        return outcomes;
      },
      { address: daemon.address, digest: images.get(kind)!.digest, upper, work },
    );
    assert.deepEqual(outcome.slice(0, 2), ['EPERM', 'EPERM'], 'a caller sets trusted.*');
    const names = xattrsBelow(upper);
    assert.ok(
      names.some((name) => name.startsWith('user.overlay.')),
      `overlayfs kept no mark at all: ${names.join()}`,
    );
    assert.deepEqual(
      names.filter((name) => name.startsWith('trusted.')),
      [],
    );
  }
});
