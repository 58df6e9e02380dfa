// Row 5: descriptors of every kind, in every place where a method takes one. Defences: the daemon asks the kernel what a descriptor is,
// and how it was opened, before it does anything else with it.
import assert from 'node:assert/strict';
import { readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import type { OwnedFd } from '../../core/kernel/fd.js';
import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, openFds, startDaemon } from '../support/daemon.js';
import { addToRepository, makeErofs, policyText } from '../support/images.js';
import { makeScratch } from '../support/scratch.js';

const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const repository = join(scratch.path, 'repository');
let daemon: Daemon;
let actor: Actor;
let kinds: string[];

before(async () => {
  const digest = makeErofs(image, { hello: 'hello\n' });
  addToRepository(repository, image, 'base');
  daemon = await startDaemon({ policy: policyText({ digests: [digest], repositories: { [repository]: 'trusted' } }) });
  actor = await startActor({ uid: 4716 });
  kinds = await collectKinds();
});
after(async () => {
  await actor?.stop();
  await daemon?.stop();
  scratch.remove();
});

/** Opens one descriptor of each kind in the actor and keeps them as `store.kinds`. Returns their names. */
function collectKinds(): Promise<string[]> {
  return actor.do(
    ({ fd, file, fs, libc, mount, socket, store }, { image }) => {
      const adopt = fd.OwnedFd.adopt;
      const own = fs.mkdtempSync('/tmp/cfsmountd-kinds-');
      const pipe = Buffer.alloc(8);
      libc.bind('pipe2', ['buffer', 'int'])(pipe, file.O_CLOEXEC);
      const number = (name: string, argument: number): OwnedFd =>
        adopt(libc.bind(name, ['int', 'int'])(argument, file.O_CLOEXEC));
      const [left, right] = socket.socketPair();
      right.close();
      const copy = (name: string): string => {
        fs.copyFileSync(image, `${own}/${name}`);
        return `${own}/${name}`;
      };
      const mountFd = (): OwnedFd => {
        const context = mount.fsopen('tmpfs');
        mount.fsconfigCreate(context);
        const made = mount.fsmount(context, 0);
        context.close();
        return made;
      };
      const all: Record<string, OwnedFd> = {
        'pipe, reading end': adopt(pipe.readInt32LE(0)),
        'pipe, writing end': adopt(pipe.readInt32LE(4)),
        socket: left,
        eventfd: number('eventfd', 0),
        epoll: adopt(libc.bind('epoll_create1', ['int'])(file.O_CLOEXEC)),
        inotify: adopt(libc.bind('inotify_init1', ['int'])(file.O_CLOEXEC)),
        timerfd: number('timerfd_create', 1),
        pidfd: adopt(libc.bindSyscall('pidfd_open', 434, ['int', 'u32'])(process.pid, 0)),
        'file system context': mount.fsopen('tmpfs'),
        'detached mount': mountFd(),
        'O_PATH file': file.openPath(image, file.O_PATH),
        'O_PATH directory': file.openPath('/tmp', file.O_PATH | file.O_DIRECTORY),
        'O_PATH user namespace': file.openPath('/proc/self/ns/user', file.O_PATH),
        'O_PATH symlink': file.openPath('/proc/self', file.O_PATH | file.O_NOFOLLOW),
        'write-only file': file.openPath(copy('write-only'), file.O_WRONLY),
        'null device': file.openPath('/dev/null', file.O_RDONLY),
        'zero device': file.openPath('/dev/zero', file.O_RDONLY),
        'memory of a process': file.openPath('/proc/self/mem', file.O_RDWR),
        'empty memfd': file.createMemfd('empty'),
      };
      for (const name of ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'pid_for_children', 'time', 'time_for_children', 'uts']) {
        all[`${name} namespace`] = file.openPath(`/proc/self/ns/${name}`, file.O_RDONLY);
      }
      // Good in one place each, and so used in the others only.
      all['user namespace'] = file.openPath('/proc/self/ns/user', file.O_RDONLY);
      all['directory'] = file.openPath('/tmp', file.O_RDONLY | file.O_DIRECTORY);
      all['file'] = file.openPath(image, file.O_RDONLY);
      all['deleted file'] = file.openPath(copy('deleted'), file.O_RDWR);
      fs.unlinkSync(`${own}/deleted`);
      fs.rmSync(own, { recursive: true });
      store['kinds'] = all;
      return Object.keys(all);
    },
    { image },
  );
}

type Place =
  | 'file'
  | 'checked file'
  | 'store'
  | 'second store'
  | 'checked store'
  | 'userns of MountFile'
  | 'userns of MountImage';

/** Puts one descriptor of the kind in the place, everything else being right. */
function put(kind: string, place: Place): Promise<string> {
  return actor.do(
    ({ file, rawCall, store }, { socket, image, kind, place }) => {
      const odd = (store['kinds'] as Record<string, OwnedFd>)[kind]!;
      const good = file.openPath(image, file.O_RDONLY);
      const userns = file.openPath('/proc/self/ns/user', file.O_RDONLY);
      const directory = file.openPath('/tmp', file.O_RDONLY | file.O_DIRECTORY);
      const mountFile = (fds: OwnedFd[], stores: number[]) => ({
        member: 'MountFile',
        signature: 'hahha{sv}',
        body: [1, stores, 0, []],
        fds,
      });
      const checkFile = (fds: OwnedFd[], stores: number[]) => ({
        member: 'CheckFile',
        signature: 'haha{sv}',
        body: [0, stores, []],
        fds,
      });
      const calls = {
        file: mountFile([userns, odd], []),
        'checked file': checkFile([odd], []),
        store: mountFile([userns, good, odd], [2]),
        'second store': mountFile([userns, good, directory, odd], [2, 3]),
        'checked store': checkFile([good, odd], [1]),
        'userns of MountFile': mountFile([odd, good], []),
        'userns of MountImage': { member: 'MountImage', signature: 'sha{sv}', body: ['base', 0, []], fds: [odd] },
      };
      try {
        return rawCall.callRaw(socket, calls[place]).what;
      } finally {
        for (const fd of [good, userns, directory]) fd.close();
      }
    },
    { socket: daemon.socket, image, kind, place },
  );
}

/** Regular files, as the kernel says, that hold no image: read and found not to be trusted, which is as good. */
const READ_AS_FILES = new Set(['empty memfd', 'memory of a process', 'pidfd']);
const isFile = (kind: string): boolean => kind === 'file' || kind === 'deleted file';
const readAsFile = (kind: string): boolean => READ_AS_FILES.has(kind) || /^(?!O_PATH).* namespace$/.test(kind);

const FILE_PLACES: readonly Place[] = ['file', 'checked file'];
const STORE_PLACES: readonly Place[] = ['store', 'second store', 'checked store'];
const USERNS_PLACES: readonly Place[] = ['userns of MountFile', 'userns of MountImage'];

async function outcomes(place: Place, wanted: (kind: string) => boolean): Promise<Record<string, string>> {
  const results: Record<string, string> = {};
  for (const kind of kinds.filter(wanted)) results[kind] = await put(kind, place);
  return results;
}

const unlike = (results: Record<string, string>, ...accepted: string[]): [string, string][] =>
  Object.entries(results).filter(([, result]) => !accepted.includes(result));

for (const place of FILE_PLACES) {
  test(`as ${place}: what is not a regular file, or not open for reading, is a bad request`, async () => {
    const results = await outcomes(place, (kind) => !isFile(kind) && !readAsFile(kind));
    assert.deepEqual(unlike(results, 'BadRequest'), []);
    assert.ok(Object.keys(results).length >= 16);
  });
  test(`as ${place}: regular files that are no images are not trusted`, async () => {
    const results = await outcomes(place, readAsFile);
    // A check answers with its verdict, which is tested with the method.
    const accepted =
      place === 'checked file' ? ['BadRequest', 'BadImage', 'NotTrusted', 'reply'] : ['BadRequest', 'BadImage', 'NotTrusted'];
    assert.deepEqual(unlike(results, ...accepted), []);
  });
  test(`as ${place}: a file without a name is as good as any`, async () => {
    assert.deepEqual(await outcomes(place, isFile), { file: 'reply', 'deleted file': 'reply' });
  });
}

for (const place of STORE_PLACES) {
  test(`as ${place}: what is not a directory open for reading is a bad request`, async () => {
    assert.deepEqual(unlike(await outcomes(place, (kind) => kind !== 'directory'), 'BadRequest'), []);
  });
}

for (const place of USERNS_PLACES) {
  test(`as ${place}: what is not a user namespace is refused as one`, async () => {
    assert.deepEqual(unlike(await outcomes(place, (kind) => kind !== 'user namespace'), 'BadUserNamespace'), []);
  });
}

test('none of them is kept open', async () => {
  // Every process has some of these, and the user namespace is kept with the mount namespaces made for it.
  const common = /^(anon_inode:\[(eventpoll|eventfd)\]|anon_inode:inotify|\/|\/dev\/(null|zero)|user:.*)$/;
  const sent = new Set([...openFds(actor.pid).values()].filter((what) => !common.test(what)));
  for (const inherited of openFds(process.pid).values()) sent.delete(inherited);
  for (const name of ['cgroup', 'ipc', 'net', 'pid', 'time', 'uts']) sent.delete(readlinkSync(`/proc/self/ns/${name}`));
  assert.ok(sent.size >= 12, 'the kinds are told apart');
  for (const place of [...FILE_PLACES, ...STORE_PLACES, ...USERNS_PLACES]) await outcomes(place, () => true);
  await daemon.eventually('the descriptors are closed', () => ![...daemon.fds().values()].some((what) => sent.has(what)));
});
