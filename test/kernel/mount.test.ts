// The bindings of the mount API against the kernel itself, in a mount namespace of a child process.
import assert from 'node:assert/strict';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { isErrno } from '../../core/kernel/error.js';
import { O_RDONLY, openPath } from '../../core/kernel/file.js';
import {
  fsconfigCreate,
  fsmount,
  fsopen,
  MNT_DETACH,
  MOUNT_ATTR_IDMAP,
  mountSetattr,
  moveMount,
  openTreeClone,
  umount2,
} from '../../core/kernel/mount.js';
import { statmountFd } from '../../core/kernel/mount-info.js';
import { type Actor, startActor } from '../support/actor.js';
import { requirePrivileges } from '../support/machine.js';

let actor: Actor;
before(async () => {
  requirePrivileges();
  actor = await startActor({ uid: 0 });
});
after(() => actor?.stop());

test('a tmpfs is made, attached, described by statmount, and taken away', async () => {
  const seen = await actor.do(({ mount, mountInfo, fs, stat, file }) => {
    const context = mount.fsopen('tmpfs');
    mount.fsconfigString(context, 'size', '1M');
    mount.fsconfigCreate(context);
    const made = mount.fsmount(context, mount.MOUNT_ATTR_NODEV | mount.MOUNT_ATTR_NOSUID);
    context.close();
    const directory = fs.mkdtempSync('/tmp/cfsmountd-kernel-');
    mount.moveMount(made, null, directory);
    const info = mountInfo.statmountFd(made);
    const listed = mountInfo.listmount().includes(info.id);
    const sameId = stat.statFd(made).mountId === info.id;
    file.makeDirectoryAt(made, 'd', 0o755);
    mount.mountSetattr(made, { set: mount.MOUNT_ATTR_RDONLY });
    let refused = '';
    try {
      file.makeDirectoryAt(made, 'e', 0o755);
    } catch (error) {
      refused = (error as { code: string }).code;
    }
    made.close();
    mount.umount2(directory, 0);
    fs.rmdirSync(directory);
    return { type: info.type, point: info.point === directory, attributes: info.attributes, listed, sameId, refused };
  }, null);
  const nodevNosuid = 0x4 | 0x2;
  assert.equal(seen.attributes & nodevNosuid, nodevNosuid);
  assert.deepEqual(
    { ...seen, attributes: 0 },
    { type: 'tmpfs', point: true, attributes: 0, listed: true, sameId: true, refused: 'EROFS' },
  );
});

test('attributes of a mount and of what is mounted on it are changed together, or those of the one alone', async () => {
  const seen = await actor.do(({ mount, mountInfo, fs, file }) => {
    const tmpfs = () => {
      const context = mount.fsopen('tmpfs');
      mount.fsconfigCreate(context);
      const made = mount.fsmount(context, 0);
      context.close();
      return made;
    };
    const directory = fs.mkdtempSync('/tmp/cfsmountd-kernel-');
    const [below, above] = [tmpfs(), tmpfs()];
    const nodev = () => [below, above].map((each) => mountInfo.statmountFd(each).attributes & mount.MOUNT_ATTR_NODEV);
    try {
      mount.moveMount(below, null, directory);
      file.makeDirectoryAt(below, 'd', 0o755);
      mount.moveMount(above, below, 'd');
      mount.mountSetattr(below, { set: mount.MOUNT_ATTR_NODEV });
      const alone = nodev();
      mount.mountSetattrAll(below, { set: mount.MOUNT_ATTR_NODEV });
      return { alone, all: nodev() };
    } finally {
      above.close();
      below.close();
      mount.umount2(directory, mount.MNT_DETACH);
      fs.rmdirSync(directory);
    }
  }, null);
  assert.deepEqual(seen, { alone: [0x4, 0], all: [0x4, 0x4] });
});

test('what the kernel logs about a refused configuration is in the error', async () => {
  const message = await actor.do(({ mount }) => {
    const context = mount.fsopen('tmpfs');
    try {
      mount.fsconfigString(context, 'no-such-option', '1');
      return 'accepted';
    } catch (error) {
      return (error as Error).message;
    } finally {
      context.close();
    }
  }, null);
  assert.match(message, /^fsconfig no-such-option: EINVAL \(.*tmpfs: Unknown parameter/);
});

test('a clone of a detached mount can be idmapped for a user namespace, and statmount shows its maps once attached', async () => {
  const owner = await startActor({ uid: 4790 });
  const directory = mkdtempSync('/tmp/cfsmountd-kernel-');
  try {
    using userns = openPath(`/proc/${owner.pid}/ns/user`, O_RDONLY);
    using context = fsopen('tmpfs');
    fsconfigCreate(context);
    using made = fsmount(context, 0);
    using clone = openTreeClone(made);
    mountSetattr(clone, { set: MOUNT_ATTR_IDMAP, userns });
    assert.throws(
      () => mountSetattr(clone, { set: MOUNT_ATTR_IDMAP, userns }),
      (error) => isErrno(error, 'EPERM'),
    );
    moveMount(clone, null, directory);
    const { uidMap, gidMap } = statmountFd(clone);
    umount2(directory, MNT_DETACH);
    assert.deepEqual(uidMap, [{ inside: 0, outside: 4790, count: 1 }]);
    assert.deepEqual(gidMap, [{ inside: 0, outside: 4790, count: 1 }]);
  } finally {
    rmdirSync(directory);
    await owner.stop();
  }
});
