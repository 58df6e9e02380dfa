// Row 6: the caller changes its image while the daemon looks at it, and after it was mounted. What a mount shows must be the trusted bytes
// for as long as it stands, or there is no mount. Defence: the daemon mounts a private copy, and hashes the very bytes it copies.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import type { OwnedFd } from '../../core/kernel/fd.js';
import { type Actor, startActor } from '../support/actor.js';
import { compileProgram } from '../support/compile.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { makeErofs, policyText } from '../support/images.js';
import { ROOT } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';

const UID = 4725;
const GOOD = 'GOOD';
const EVIL = 'EVIL';
const MARK = 'MARK-OF-THIS-TEST';
/** Long enough that its end lies in a block of its own; the marked text is at both ends. */
const content = `${MARK} ${GOOD}\n${'x'.repeat(200_000)}${MARK} ${GOOD}\n`;

const scratch = makeScratch();
const original = join(scratch.path, 'original.erofs');
const own = join(scratch.path, 'own');
const scribbler = join(scratch.path, 'scribble');
let daemon: Daemon;
let actor: Actor;
let digest: string;
let offsets: number[];

before(async () => {
  digest = makeErofs(original, { data: content });
  const bytes = readFileSync(original);
  offsets = [];
  for (let at = bytes.indexOf(`${MARK} ${GOOD}`); at >= 0; at = bytes.indexOf(`${MARK} ${GOOD}`, at + 1))
    offsets.push(at + MARK.length + 1);
  assert.equal(offsets.length, 2, 'the image is not compressed and holds both texts');
  mkdirSync(own);
  chownSync(own, UID, UID);
  compileProgram(join(ROOT, 'test/support/scribbler.c'), scribbler);
  daemon = await startDaemon({ policy: policyText({ digests: [digest] }) });
  actor = await startActor({ uid: UID });
});
after(async () => {
  await actor?.stop();
  await daemon?.stop();
  scratch.remove();
});

/** A fresh copy of the trusted image that belongs to the caller. */
function copyForCaller(name: string): string {
  const path = join(own, name);
  copyFileSync(original, path);
  chmodSync(path, 0o644);
  chownSync(path, UID, UID);
  return path;
}

type Change =
  | 'written through a kept descriptor'
  | 'written through a new descriptor'
  | 'truncated'
  | 'replaced by rename'
  | 'deleted';
const CHANGES: readonly Change[] = [
  'written through a kept descriptor',
  'written through a new descriptor',
  'truncated',
  'replaced by rename',
  'deleted',
];

/** Mounts, changes the image before anything was read, and returns what the mount shows then, and once more. */
function mountThenChange(image: string, change: Change, withDigest: boolean): Promise<string[]> {
  return actor.do(
    ({ client, file, fs, mount }, { address, image, change, offsets, digest }) => {
      const connection = client.connect({ address });
      const kept = file.openPath(image, file.O_RDWR);
      const received: OwnedFd = connection.mountFile(kept, [], digest === null ? {} : { digest }).mount;
      connection.close();
      const evil = Buffer.from('EVIL');
      if (change === 'written through a kept descriptor') for (const at of offsets) file.writeAllAt(kept, evil, at);
      if (change === 'truncated') fs.truncateSync(image, 4096);
      if (change === 'deleted') fs.unlinkSync(image);
      if (change === 'written through a new descriptor') {
        const again = file.openPath(image, file.O_RDWR);
        for (const at of offsets) file.writeAllAt(again, evil, at);
        again.close();
      }
      if (change === 'replaced by rename') {
        const other = fs.readFileSync(image);
        for (const at of offsets) evil.copy(other, at);
        fs.writeFileSync(`${image}.new`, other);
        fs.renameSync(`${image}.new`, image);
      }
      const directory = fs.mkdtempSync('/tmp/cfsmountd-mnt-');
      mount.moveMount(received, null, directory);
      received.close();
      const first = fs.readFileSync(`${directory}/data`, 'latin1');
      for (const at of offsets) if (change !== 'deleted' && change !== 'truncated') file.writeAllAt(kept, evil, at);
      const second = fs.readFileSync(`${directory}/data`, 'latin1');
      kept.close();
      mount.umount2(directory, mount.MNT_DETACH);
      fs.rmdirSync(directory);
      return [first, second];
    },
    { address: daemon.address, image, change, offsets, digest: withDigest ? digest : null },
  );
}

for (const [index, change] of CHANGES.entries()) {
  test(`the mount shows the trusted bytes after the file was ${change}`, async () => {
    const shown = await mountThenChange(copyForCaller(`after-${index}`), change, false);
    assert.ok(
      shown.every((text) => text === content),
      'the mounted bytes changed',
    );
  });
  test(`the same when the digest was given: ${change}`, async () => {
    const shown = await mountThenChange(copyForCaller(`digest-${index}`), change, true);
    assert.ok(
      shown.every((text) => text === content),
      'the mounted bytes changed',
    );
  });
}

test('a file that already holds other bytes is not believed for the digest its caller names', async () => {
  const image = copyForCaller('evil');
  const bytes = readFileSync(image);
  for (const at of offsets) bytes.write(EVIL, at);
  writeFileSync(image, bytes);
  const outcome = await actor.do(
    ({ client, file }, { address, image, digest }) => {
      const connection = client.connect({ address });
      const fd = file.openPath(image, file.O_RDONLY);
      const attempt = (options: { digest?: string }): string => {
        try {
          const { mount } = connection.mountFile(fd, [], options);
          const shown = process.getBuiltinModule('node:fs').readFileSync(`/proc/self/fd/${mount.raw}/data`, 'latin1');
          mount.close();
          return shown.includes('EVIL') ? 'evil bytes' : 'trusted bytes';
        } catch (error) {
          return (error as { code?: string }).code ?? String(error);
        }
      };
      const outcomes = [attempt({}), attempt({ digest })];
      fd.close();
      connection.close();
      return outcomes;
    },
    { address: daemon.address, image, digest },
  );
  assert.equal(outcome[0], 'NotTrusted');
  // A kept copy of the trusted bytes may be mounted in its place; the file's own bytes never.
  assert.ok(['trusted bytes', 'BadImage'].includes(outcome[1]!), outcome[1]);
});

/** Mounts again and again while the file changes under the daemon. Counts what the mounts showed. */
function race(image: string, milliseconds: number): Promise<{ trusted: number; refused: number; other: string[] }> {
  return actor.do(
    ({ client, file, fs }, { address, image, content, milliseconds }) => {
      const connection = client.connect({ address });
      const fd = file.openPath(image, file.O_RDONLY);
      const counts = { trusted: 0, refused: 0, other: [] as string[] };
      for (const until = Date.now() + milliseconds; Date.now() < until;) {
        try {
          const { mount } = connection.mountFile(fd, []);
          const shown = fs.readFileSync(`/proc/self/fd/${mount.raw}/data`, 'latin1');
          mount.close();
          if (shown === content) counts.trusted++;
          else counts.other.push('a mount showed other bytes than the trusted ones');
        } catch (error) {
          const { code = String(error) } = error as { code?: string };
          if (code === 'NotTrusted' || code === 'BadImage') counts.refused++;
          else if (code !== 'QuotaExceeded') counts.other.push(code); // mounts are counted until the kernel says that they are gone
        }
      }
      fd.close();
      connection.close();
      counts.other = [...new Set(counts.other)];
      return counts;
    },
    { address: daemon.address, image, content, milliseconds },
  );
}

async function whileScribbling<T>(image: string, work: () => Promise<T>): Promise<T> {
  const child: ChildProcess = spawn(scribbler, [image, ...offsets.map(String)], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve) => child.stdout!.once('data', resolve));
  try {
    return await work();
  } finally {
    child.kill('SIGKILL');
  }
}

test('a race over three seconds with a shared mapping: refused or trusted, never other bytes', async () => {
  const image = copyForCaller('race');
  const { trusted, refused, other } = await whileScribbling(image, () => race(image, 3_000));
  assert.deepEqual(other, []);
  assert.ok(trusted > 0, 'no attempt met the trusted bytes: the race was none');
  assert.ok(refused > 0, 'no attempt met other bytes: the race was none');
});

test('the same on a tmpfs of its own, which the caller fills and empties', async () => {
  const shown = await actor.do(
    ({ client, file, fs, mount }, { address, image, offsets }) => {
      const directory = fs.mkdtempSync('/tmp/cfsmountd-own-');
      const context = mount.fsopen('tmpfs');
      mount.fsconfigCreate(context);
      const made = mount.fsmount(context, 0);
      mount.moveMount(made, null, directory);
      for (const one of [context, made]) one.close();
      fs.copyFileSync(image, `${directory}/image`);
      const connection = client.connect({ address });
      const fd = file.openPath(`${directory}/image`, file.O_RDWR);
      const received: OwnedFd = connection.mountFile(fd, []).mount;
      connection.close();
      for (const at of offsets) file.writeAllAt(fd, Buffer.from('EVIL'), at);
      fs.truncateSync(`${directory}/image`, 0);
      fd.close();
      mount.umount2(directory, mount.MNT_DETACH);
      const text = fs.readFileSync(`/proc/self/fd/${received.raw}/data`, 'latin1');
      received.close();
      fs.rmdirSync(directory);
      return text;
    },
    { address: daemon.address, image: original, offsets },
  );
  assert.ok(shown === content, 'the mounted bytes changed');
});

test('a file that ends while it is read is refused', async () => {
  const image = copyForCaller('shrinking');
  const outcomes = await actor.do(
    async ({ client, file, fs }, { address, image, original, length }) => {
      const results: string[] = [];
      const bytes = fs.readFileSync(original);
      for (let i = 0; i < 50; i++) {
        fs.writeFileSync(image, bytes);
        const connection = client.connect({ address });
        const fd = file.openPath(image, file.O_RDONLY);
        const pending = connection.mountFileAsync(fd, []).then(
          ({ mount }) => {
            const text = fs.readFileSync(`/proc/self/fd/${mount.raw}/data`);
            mount.close();
            return text.length === length ? 'trusted' : `short: ${text.length}`;
          },
          (error: Error & { code?: string }) => error.code ?? error.message,
        );
        await new Promise((resolve) => setTimeout(resolve, i % 5));
        fs.truncateSync(image, (i * 4096) % bytes.length);
        results.push(await pending);
        fd.close();
        connection.close();
      }
      return [...new Set(results)];
    },
    { address: daemon.address, image, original, length: content.length },
  );
  assert.deepEqual(
    outcomes.filter((one) => !['trusted', 'BadImage', 'NotTrusted', 'QuotaExceeded'].includes(one)),
    [],
  );
});
