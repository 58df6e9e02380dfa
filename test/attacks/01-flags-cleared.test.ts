// Row 1: the recipient is root over its own mount namespace and tries to get rid of the flags of the mount it received, and to open
// devices through it. Defences: the mount crosses into the caller's namespace before it is handed out, which locks its flags; and
// ro and nodev are set before that.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import type { OwnedFd } from '../../core/kernel/fd.js';
import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { digestOfFile, makeSampleRepository, policyText } from '../support/images.js';
import { run, withoutSample } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';

const scratch = makeScratch();
const image = join(scratch.path, 'devices.erofs');
let daemon: Daemon;
let actor: Actor;
let digest: string;
let sample: string | undefined;

/** An image of a hostile author: device nodes that anybody may open, by their modes. */
function makeDeviceImage(): string {
  const tree = join(scratch.path, 'tree');
  mkdirSync(join(tree, 'sub'), { recursive: true });
  for (const directory of [tree, join(tree, 'sub')]) {
    run('mknod', '-m', '0666', join(directory, 'zero'), 'c', '1', '5');
    run('mknod', '-m', '0666', join(directory, 'disk'), 'b', '7', '0');
  }
  writeFileSync(join(tree, 'hello'), 'hello\n');
  chmodSync(tree, 0o755);
  run('mkfs.erofs', '--quiet', image, tree);
  chmodSync(image, 0o644);
  return digestOfFile(image);
}

before(async () => {
  digest = makeDeviceImage();
  const repository = join(scratch.path, 'repository');
  const digests = [digest];
  if (!withoutSample()) digests.push((sample = makeSampleRepository(repository)));
  const repositories = sample === undefined ? {} : ({ [repository]: 'trusted' } as const);
  daemon = await startDaemon({ policy: policyText({ digests, repositories, conditions: 'devices = "allow"' }) });
  actor = await startActor({ uid: 4712 });
});
after(async () => {
  await actor?.stop();
  await daemon?.stop();
  scratch.remove();
});

/** Mounts as the actor, restricted in every way there is, and keeps the descriptor as `store.received`. */
async function receive(kind: 'erofs' | 'composefs'): Promise<void> {
  await actor.do(
    ({ client, file, store }, { address, image, sample }) => {
      const connection = client.connect({ address });
      const options = { nosuid: true, noexec: true };
      if (sample !== null) store['received'] = connection.mountImage(sample, options).mount;
      else store['received'] = connection.mountFile(file.openPath(image, file.O_RDONLY), [], options).mount;
      connection.close();
    },
    { address: daemon.address, image, sample: kind === 'composefs' ? sample! : null },
  );
}

const FLAGS = { ro: 1, nosuid: 2, nodev: 4, noexec: 8 } as const; // MOUNT_ATTR_*
const ALL_REFUSED = { ro: 'EPERM', nosuid: 'EPERM', nodev: 'EPERM', noexec: 'EPERM', all: 'EPERM' };

/** Tries to clear each flag, and all at once, on a mount reached in the way that `where` says. */
function clearFlags(where: 'detached' | 'clone' | 'attached' | 'bind' | 'subdirectory' | 'moved'): Promise<unknown> {
  return actor.do(
    ({ fs, file, mount, store }, { where, flags }) => {
      const received = store['received'] as OwnedFd;
      const directory = fs.mkdtempSync('/tmp/cfsmountd-mnt-');
      const other = fs.mkdtempSync('/tmp/cfsmountd-mnt-');
      const opened: OwnedFd[] = [];
      const keep = (one: OwnedFd) => (opened.push(one), one);
      const attach = (what: OwnedFd, at: string) => {
        mount.moveMount(what, null, at);
        return keep(file.openPath(at, file.O_PATH));
      };
      const sub = () => fs.readdirSync(directory, { withFileTypes: true }).find((entry) => entry.isDirectory())!.name;
      const reach = (): OwnedFd => {
        if (where === 'detached') return received;
        const attached = attach(received, directory);
        if (where === 'attached') return attached;
        const clone = keep(mount.openTreeClone(attached, where === 'subdirectory' ? sub() : ''));
        if (where === 'clone') return clone;
        if (where === 'moved') mount.umount2(directory, mount.MNT_DETACH);
        return attach(clone, other);
      };
      const attempt = (one: OwnedFd, clear: number): string => {
        try {
          mount.mountSetattr(one, { clear });
          return 'cleared';
        } catch (error) {
          return (error as { code?: string }).code ?? String(error);
        }
      };
      try {
        const target = reach();
        const results = Object.entries(flags).map(([name, flag]) => [name, attempt(target, flag)]);
        const all = Object.values(flags).reduce((sum, flag) => sum | flag, 0);
        return Object.fromEntries([...results, ['all', attempt(target, all)]]) as Record<string, string>;
      } finally {
        for (const one of [...opened, received]) one.close();
        for (const path of [other, directory]) {
          try {
            mount.umount2(path, mount.MNT_DETACH);
          } catch {
            // not mounted there
          }
          fs.rmdirSync(path);
        }
      }
    },
    { where, flags: FLAGS },
  );
}

/** Runs util-linux's mount on the attached mount, in the actor's namespace or in one nested below. Returns what happened to each flag. */
function remount(nested: boolean): Promise<unknown> {
  return actor.do(
    ({ fs, mount, store }, { nested }) => {
      const received = store['received'] as OwnedFd;
      const directory = fs.mkdtempSync('/tmp/cfsmountd-mnt-');
      mount.moveMount(received, null, directory);
      received.close();
      const { spawnSync } = process.getBuiltinModule('node:child_process');
      const before = nested ? ['unshare', '-U', '-r', '-m', '--propagation', 'unchanged'] : [];
      try {
        const results = [
          'rw,nodev,nosuid,noexec',
          'ro,dev,nosuid,noexec',
          'ro,nodev,suid,noexec',
          'ro,nodev,nosuid,exec',
          'rw,dev,suid,exec',
        ].map((options) => {
          const [program, ...args] = [...before, 'mount', '-i', '-o', `remount,bind,${options}`, directory];
          const { status, stderr } = spawnSync(program!, args, { encoding: 'utf8' });
          return [options, status !== 0 && /permission denied/i.test(stderr) ? 'refused' : `${status} ${stderr}`];
        });
        return Object.fromEntries(results) as Record<string, string>;
      } finally {
        mount.umount2(directory, mount.MNT_DETACH);
        fs.rmdirSync(directory);
      }
    },
    { nested },
  );
}

const REMOUNT_REFUSED = {
  'rw,nodev,nosuid,noexec': 'refused',
  'ro,dev,nosuid,noexec': 'refused',
  'ro,nodev,suid,noexec': 'refused',
  'ro,nodev,nosuid,exec': 'refused',
  'rw,dev,suid,exec': 'refused',
};

for (const kind of ['erofs', 'composefs'] as const) {
  const skip = kind === 'composefs' && withoutSample();
  for (const where of ['detached', 'clone', 'attached', 'bind', 'subdirectory', 'moved'] as const) {
    test(`no flag of a received ${kind} mount can be cleared: ${where}`, { skip }, async () => {
      await receive(kind);
      assert.deepEqual(await clearFlags(where), ALL_REFUSED);
    });
  }
  test(`no flag of a received ${kind} mount goes away by remount,bind`, { skip }, async () => {
    await receive(kind);
    assert.deepEqual(await remount(false), REMOUNT_REFUSED);
  });
  test(`no flag of a received ${kind} mount goes away by remount,bind in a nested user namespace`, { skip }, async () => {
    await receive(kind);
    assert.deepEqual(await remount(true), REMOUNT_REFUSED);
  });
}

test('device nodes of an image do not open, whatever the recipient does to the mount', async () => {
  await receive('erofs');
  const opened = await actor.do(({ fs, file, mount, store }) => {
    const received = store['received'] as OwnedFd;
    const tryOpen = (path: string, flags: number): string => {
      try {
        file.openPath(path, flags).close();
        return 'opened';
      } catch (error) {
        return (error as { code?: string }).code ?? String(error);
      }
    };
    const clear = (): void => {
      try {
        mount.mountSetattr(received, { clear: mount.MOUNT_ATTR_NODEV });
      } catch {
        // refused: what then opens is looked at below
      }
    };
    const results: Record<string, string> = {};
    const tryAll = (how: string, root: string): void => {
      for (const name of ['zero', 'disk', 'sub/zero', 'sub/disk'])
        results[`${how} ${name}`] = tryOpen(`${root}/${name}`, file.O_RDONLY);
    };
    tryAll('detached', `/proc/self/fd/${received.raw}`);
    clear();
    tryAll('cleared', `/proc/self/fd/${received.raw}`);
    const directory = fs.mkdtempSync('/tmp/cfsmountd-mnt-');
    mount.moveMount(received, null, directory);
    tryAll('attached', directory);
    const hello = fs.readFileSync(`${directory}/hello`, 'utf8'); // the mount works otherwise
    received.close();
    mount.umount2(directory, mount.MNT_DETACH);
    fs.rmdirSync(directory);
    return {
      opened: Object.entries(results).filter(([, result]) => result !== 'EACCES'),
      tried: Object.keys(results).length,
      hello,
    };
  }, null);
  assert.deepEqual(opened, { opened: [], tried: 12, hello: 'hello\n' });
});

test('a recipient that does not ask for it gets ro and nodev all the same, locked', async () => {
  const result = await actor.do(
    ({ client, file, mount }, { address, image }) => {
      const connection = client.connect({ address });
      const { mount: received } = connection.mountFile(file.openPath(image, file.O_RDONLY), []);
      connection.close();
      const outcomes = [mount.MOUNT_ATTR_RDONLY, mount.MOUNT_ATTR_NODEV].map((clear) => {
        try {
          mount.mountSetattr(received, { clear });
          return 'cleared';
        } catch (error) {
          return (error as { code?: string }).code;
        }
      });
      received.close();
      return outcomes;
    },
    { address: daemon.address, image },
  );
  assert.deepEqual(result, ['EPERM', 'EPERM']);
});
