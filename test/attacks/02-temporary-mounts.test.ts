// Row 2: every mount the daemon makes, also the ones nobody is meant to see, is nodev and nosuid, and holds nothing its finder could use.
// Defences: the attributes given to each fsmount; a staging namespace with nothing in it, its one tmpfs closed to all but the daemon.
import assert from 'node:assert/strict';
import { readdirSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { connect } from '../../client/index.js';
import type { OwnedFd } from '../../core/kernel/fd.js';
import { O_PATH, O_RDONLY, openPath } from '../../core/kernel/file.js';
import { ioctlBuffer } from '../../core/kernel/ioctl.js';
import { bind } from '../../core/kernel/libc.js';
import { listmount, type MountInfo, statmount } from '../../core/kernel/mount-info.js';
import { owningUserns } from '../../core/kernel/namespace.js';
import { type Actor, startActor } from '../support/actor.js';
import { settleDown } from '../support/at-rest.js';
import { type Daemon, openFds, startDaemon } from '../support/daemon.js';
import { handOver } from '../support/hand-over.js';
import { makeErofs, makeSampleRepository, policyText } from '../support/images.js';
import { PATIENCE, withoutSample } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';
import { injectFault } from '../support/strace.js';

const NS_GET_MNTNS_ID = 0x8008b705; // linux/nsfs.h (Linux 6.11)
const READ_ONLY = 1; // MOUNT_ATTR_* and ST_* have these values in common
const NOSUID = 2;
const NODEV = 4;

const fstatfs = bind('fstatfs', ['fd', 'buffer']);

const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
let daemon: Daemon;
let actor: Actor;
let sample: string | undefined;

before(async () => {
  const digests = [makeErofs(image, { hello: 'hello\n' })];
  const repository = join(scratch.path, 'repository');
  if (!withoutSample()) digests.push((sample = makeSampleRepository(repository)));
  const repositories = sample === undefined ? {} : ({ [repository]: 'trusted' } as const);
  const text = policyText({ digests, repositories }).replace('name = "test"', 'name = "test"\nnosuid = true');
  daemon = await startDaemon({ policy: text });
  actor = await startActor({ uid: 4713 });
});
after(async () => {
  await actor?.stop();
  await daemon?.stop();
  scratch.remove();
});

/** Mounts until the time is over and so many times, however slow the machine, and keeps the last few. */
function mountFor(milliseconds: number, least = 0): Promise<number> {
  return actor.do(
    async ({ client, file, store }, { address, image, sample, milliseconds, least }) => {
      const connection = client.connect({ address });
      const until = Date.now() + milliseconds;
      const held: OwnedFd[] = [];
      for (let count = 0; ; count++) {
        const fd = file.openPath(image, file.O_RDONLY);
        held.push((await connection.mountFileAsync(fd, [])).mount);
        fd.close();
        if (sample !== null) held.push((await connection.mountImageAsync(sample)).mount);
        while (held.length > 4) held.shift()!.close();
        if (Date.now() > until && count >= least) {
          store['held'] = held;
          return count;
        }
      }
    },
    { address: daemon.address, image, sample: sample ?? null, milliseconds, least },
  );
}

/** Paths to every mount namespace the daemon is in or holds, but the host's own, one for each namespace. */
function namespacesOfDaemon(): Map<string, string> {
  const found = new Map<string, string>();
  const own = readlinkSync('/proc/self/ns/mnt');
  const threads = `/proc/${daemon.pid}/task`;
  for (const thread of readdirSync(threads)) {
    try {
      found.set(readlinkSync(`${threads}/${thread}/ns/mnt`), `${threads}/${thread}/ns/mnt`);
    } catch {
      // the thread has ended
    }
  }
  for (const [fd, what] of openFds(daemon.pid)) if (what.startsWith('mnt:[')) found.set(what, `/proc/${daemon.pid}/fd/${fd}`);
  found.delete(own);
  return found;
}

function mountsIn(namespace: string): MountInfo[] {
  using fd = openPath(namespace, O_RDONLY);
  const id = Buffer.alloc(8);
  ioctlBuffer(fd.raw, NS_GET_MNTNS_ID, id);
  return listmount(id.readBigUInt64LE()).flatMap((mount) => {
    try {
      return [statmount(mount, id.readBigUInt64LE())];
    } catch {
      return []; // gone meanwhile
    }
  });
}

const isStage = ({ type, point }: MountInfo): boolean => type === 'tmpfs' && (point === '/' || point === '/stage');
const isPassingBy = ({ type, point }: MountInfo): boolean =>
  /^(erofs|overlay)$/.test(type) && /^\/stage\/[0-9a-f-]{36}$/.test(point);
/** Before Linux 6.15, while an overlay is made: the image and its object stores, which may be on any file system. */
const isLayer = ({ point }: MountInfo): boolean => /^\/stage\/\d+$/.test(point);

function faultsOf(mount: MountInfo): string[] {
  const { attributes, type, point } = mount;
  const told = `${type} on ${point} with ${attributes.toString(16)}`;
  const faults = isStage(mount) || isPassingBy(mount) || isLayer(mount) ? [] : [`should not be there: ${told}`];
  if ((attributes & NODEV) === 0) faults.push(`without nodev: ${told}`);
  if ((attributes & NOSUID) === 0) faults.push(`without nosuid: ${told}`);
  if ((attributes & READ_ONLY) === 0 && point !== '/stage') faults.push(`writable: ${told}`);
  return faults;
}

test('every mount in every mount namespace of the daemon is nodev and nosuid, while mounts are made and after', async () => {
  const faults = new Set<string>();
  let passing = 0;
  let namespaces = 0;
  const look = (): void => {
    const found = namespacesOfDaemon();
    namespaces = Math.max(namespaces, found.size);
    for (const namespace of found.values()) {
      for (const mount of mountsIn(namespace)) {
        for (const fault of faultsOf(mount)) faults.add(fault);
        if (isPassingBy(mount)) passing++;
      }
    }
  };
  // A new thread is in a private copy of the host's mounts for a moment before it leaves them: not on any caller's way, so it starts before.
  // Three at once take all the threads that one user can ever have.
  await Promise.all([mountFor(500 * PATIENCE), mountFor(500 * PATIENCE), mountFor(500 * PATIENCE)]);
  await settleDown(daemon.pid);
  // Each mount then stays in the stage for as long as it takes to look at all of them.
  const delay = await injectFault(daemon.pid, 'umount2', 'delay_enter=20000', '1+');
  let done = false;
  const working = mountFor(1_500, 11).finally(() => (done = true));
  while (!done) {
    look();
    await sleep(1);
  }
  assert.ok((await working) > 10, 'the daemon hardly worked meanwhile');
  await delay.detach();
  look();
  assert.deepEqual([...faults], []);
  assert.ok(passing > 0, 'no mount was seen on its way; the test looks at the wrong place');
  // The worker's own, its staging namespace for the caller, and the parked one.
  assert.ok(namespaces >= 3, `${namespaces} namespaces`);
});

test('every mount that the daemon holds by descriptor is nodev and nosuid, and read-only or the stage', async () => {
  await mountFor(50);
  await settleDown(daemon.pid);
  const kinds = new Map<string, number>();
  const faults: string[] = [];
  for (const [number, what] of openFds(daemon.pid)) {
    if (what !== '/' && !what.startsWith('/stage')) continue;
    using fd = openPath(`/proc/${daemon.pid}/fd/${number}`, O_PATH);
    const status = Buffer.alloc(120); // struct statfs
    fstatfs(fd.raw, status);
    const flags = Number(status.readBigInt64LE(80));
    const type = status.readBigInt64LE(0).toString(16);
    if (statSync(`/proc/${daemon.pid}/fd/${number}`).dev === statSync('/').dev) continue;
    kinds.set(type, (kinds.get(type) ?? 0) + 1);
    if ((flags & NODEV) === 0 || (flags & NOSUID) === 0) faults.push(`${what} of type ${type}: ${flags.toString(16)}`);
  }
  assert.deepEqual(faults, []);
  assert.ok((kinds.get('1021994') ?? 0) >= 2, 'the two ends of the stage'); // TMPFS_MAGIC
  using client = connect({ address: daemon.address });
  const keeps = client.status().features.includes('clone-detached'); // Linux 6.15
  if (sample !== undefined) assert.equal((kinds.get('e0f5e1e2') ?? 0) >= 1, keeps, 'the kept superblock of the image');
});

test('in the namespace made for it the caller finds nothing to see and nowhere to write', async () => {
  await mountFor(50);
  await settleDown(daemon.pid);
  const owner = readlinkSync(`/proc/${actor.pid}/ns/user`);
  const parked = [...namespacesOfDaemon().values()].filter((path) => ownerOf(path) === owner);
  assert.equal(parked.length, 1, 'there is one parked namespace of the caller');
  using fd = openPath(parked[0]!, O_RDONLY);
  await handOver(actor, 'parked', fd);
  const seen = await actor.do(({ fs, file, mount, namespace, store }) => {
    const code = (attempt: () => unknown): string => {
      try {
        attempt();
        return 'done';
      } catch (error) {
        return (error as { code?: string }).code ?? String(error);
      }
    };
    const home = file.openPath('/proc/self/ns/mnt', file.O_RDONLY);
    namespace.unshare(namespace.CLONE_FS);
    namespace.setns(store['parked'] as OwnedFd, namespace.CLONE_NEWNS);
    const result = {
      root: fs.readdirSync('/'),
      stage: fs.readdirSync('/stage'),
      fileInRoot: code(() => fs.writeFileSync('/x', 'x')),
      fileInStage: code(() => fs.writeFileSync('/stage/x', 'x')),
      directoryInStage: code(() => fs.mkdirSync('/stage/y')),
      modeOfStage: code(() => fs.chmodSync('/stage', 0o777)),
      device: code(() => mount.mountSetattrTree('/', { clear: mount.MOUNT_ATTR_NODEV })),
      unmount: code(() => mount.umount2('/stage', mount.MNT_DETACH)),
      above: fs.readdirSync('/..'),
    };
    namespace.setns(home, namespace.CLONE_NEWNS);
    home.close();
    return result;
  }, null);
  const refused = (value: string): boolean => ['EACCES', 'EPERM', 'EROFS', 'EINVAL'].includes(value);
  const { root, stage, above, ...attempts } = seen;
  assert.deepEqual({ root, stage, above }, { root: ['stage'], stage: [], above: ['stage'] });
  assert.deepEqual(
    Object.entries(attempts).filter(([, value]) => !refused(value)),
    [],
  );
});

/** The user namespace that owns a namespace, as readlink shows it. */
function ownerOf(path: string): string {
  using fd = openPath(path, O_RDONLY);
  using owner = owningUserns(fd);
  return readlinkSync(`/proc/self/fd/${owner.raw}`);
}
