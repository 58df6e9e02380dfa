// What tests of podman start from: a room, a service, and a repository with images that have a shell.
import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { CFSCTL } from './cfsctl.js';
import { type Daemon, startDaemon } from './daemon.js';
import { policyText } from './images.js';
import { DIST, run } from './machine.js';
import { importLayers } from './docker-archive.js';
import type { TestImage } from './oci-record.js';
import { type Room, type RoomUser, openRoom } from './podman.js';

export interface PodmanKit {
  readonly room: Room;
  readonly daemon: Daemon;
  readonly repository: string;
  readonly store: string;
  /** Imports directories as the layers of an OCI image, from the bottom up. */
  add(name: string, ...layers: string[]): TestImage;
  export(): string;
  /** Has the service trust these images, and no others; returns when it does. */
  trust(images: readonly TestImage[]): Promise<void>;
  close(): Promise<void>;
}

export async function openPodmanKit(userCount = 1): Promise<PodmanKit> {
  const room = await openRoom(userCount);
  const repository = join(room.path, 'state/repo');
  const store = join(room.path, 'store');
  // As it is installed: nobody but root can look into the repository.
  mkdirSync(join(repository, 'objects'), { recursive: true });
  chmodSync(repository, 0o700);
  const policy = (images: readonly TestImage[]): string =>
    policyText({ digests: images.map(({ digest }) => digest), repositories: { [repository]: 'trusted' } });
  let daemon: Daemon;
  try {
    daemon = await startDaemon({ directory: room.service, policy: policy([]) });
  } catch (error) {
    await room.close();
    throw error;
  }
  let readings = 0;
  return {
    room,
    daemon,
    repository,
    store,
    add: (name, ...layers) => importLayers(repository, layers, name),
    export: () => run(CFSCTL, 'podman', 'export-store', '--repo', repository, store),
    async trust(images) {
      daemon.writePolicy(policy(images));
      readings += 1;
      daemon.process.kill('SIGHUP');
      await daemon.eventually('the policy is read again', () => daemon.stderr().split('policy read again').length > readings);
    },
    async close() {
      await daemon.kill();
      await room.close();
    },
  };
}

const APPLETS = [
  'sh',
  'cat',
  'cp',
  'echo',
  'grep',
  'id',
  'ls',
  'mkdir',
  'mount',
  'rm',
  'sleep',
  'stat',
  'touch',
  'true',
  'sha256sum',
];

/** A root file system of busybox; /data/payload holds bytes that compress to nothing, /home/user/file is of uid 1000. */
export function makeRootTree(path: string, payloadBytes = 5_000_000): string {
  for (const name of ['bin', 'data', 'dev', 'etc', 'home/user', 'proc', 'run', 'sys', 'tmp'])
    mkdirSync(join(path, name), { recursive: true });
  const busybox = ['/bin/busybox', '/usr/bin/busybox'].find((each) => existsSync(each));
  if (busybox === undefined) throw new Error('busybox is missing: run tools/install-deps test as root');
  copyFileSync(busybox, join(path, 'bin/busybox'));
  for (const name of APPLETS) symlinkSync('busybox', join(path, 'bin', name));
  chmodSync(path, 0o755);
  chmodSync(join(path, 'tmp'), 0o1777);
  writeFileSync(join(path, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n');
  writeFileSync(join(path, 'etc/group'), 'root:x:0:\nuser:x:1000:\n');
  writeFileSync(join(path, 'data/payload'), randomLike(payloadBytes));
  writeFileSync(join(path, 'home/user/file'), 'of uid 1000\n'.repeat(20));
  for (const name of ['home/user', 'home/user/file']) chownSync(join(path, name), 1000, 1000);
  chmodSync(join(path, 'home/user/file'), 0o600);
  return path;
}

function randomLike(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0, state = 1; at < length; at += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[at] = state >>> 16;
  }
  return bytes;
}

/** Lines for storage.conf: the store, and cfs-overlay if wanted. */
export function storeLines(store: string, withOverlay = false): string {
  const program = withOverlay ? `[storage.options.overlay]\nmount_program = "${join(DIST, 'cfs-overlay')}"\n` : '';
  return `[storage.options]\nadditionalimagestores = ["${store}"]\n${program}`;
}

/** Bytes that the user's own storage takes. */
export function storageBytes(user: RoomUser): number {
  return Number(run('du', '-sb', join(user.home, '.local/share/containers/storage')).split('\t')[0]);
}

/** What is mounted where podman's containers are made, as the kernel tells. */
export function mountsOf(room: Room, user: RoomUser): string {
  return room.output(user, ['podman', 'unshare', 'cat', '/proc/self/mountinfo']);
}
