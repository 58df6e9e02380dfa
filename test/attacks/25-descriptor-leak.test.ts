// Row 25: descriptors of the daemon that a program it starts would inherit. Needed: every call that makes one makes it close-on-exec
// (core/kernel), and the one program that is started gives up whatever it was given (core/kernel/park.c).
import assert from 'node:assert/strict';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, openFds, startDaemon } from '../support/daemon.js';
import { makeErofs, makeSampleRepository, policyText } from '../support/images.js';
import { withoutSample } from '../support/machine.js';
import { startPark } from '../support/park-process.js';
import { makeScratch } from '../support/scratch.js';
import { childrenOf } from '../support/state.js';
import { mountImageOnce, mountOnce } from '../support/steps.js';
import { traceCalls } from '../support/strace.js';

const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const noSample = withoutSample();
let daemon: Daemon;
let user: Actor;

before(async () => {
  const digests = [makeErofs(image, { 'hello.txt': 'hello\n' })];
  const repository = join(scratch.path, 'repo');
  if (!noSample) digests.push(makeSampleRepository(repository));
  daemon = await startDaemon({ policy: policyText({ digests, repositories: noSample ? {} : { [repository]: 'trusted' } }) });
  user = await startActor({ uid: 4763 });
});
after(async () => {
  await user?.stop();
  await daemon?.kill();
  scratch.remove();
});

/** Leaves the daemon with something of everything: a mount, a connection that has not authenticated, descriptors of half a message. */
async function holdMuch(): Promise<void> {
  await user.do(
    ({ client, codec, file, raw, store }, { address, socket, image }) => {
      const connection = client.connect({ address });
      const fd = file.openPath(image, file.O_RDONLY);
      const half = raw.connectAuthenticated(socket);
      const call = { path: '/', interface: 'org.freedesktop.DBus.Peer', member: 'Ping', serial: 1, fds: 3 };
      half.send(codec.encodeMethodCall(call).subarray(0, 20), [fd, fd, fd]);
      store['held'] = [connection, connection.mountFile(fd, []).mount, half, raw.connectRaw(socket)];
      fd.close();
    },
    { address: daemon.address, socket: daemon.socket, image },
  );
  await daemon.eventually('it has taken the descriptors', () => [...openFds(daemon.pid).values()].includes(image));
}

/** Descriptors of a process, without those that came from whoever started this test: they are not the daemon's doing. */
function ownFds(pid: number): [fd: number, target: string][] {
  const inherited = openFds(process.pid);
  return [...openFds(pid)].filter(([fd, target]) => fd <= 2 || inherited.get(fd) !== target);
}

test('every descriptor that the daemon holds is close-on-exec', async () => {
  await holdMuch();
  const O_CLOEXEC = 0o2000000;
  const fds = ownFds(daemon.pid).filter(([fd]) => fd > 2);
  assert.ok(fds.length > 20);
  for (const [fd, target] of fds) {
    const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/${daemon.pid}/fdinfo/${fd}`, 'latin1'))![1]!;
    assert.ok(Number.parseInt(flags, 8) & O_CLOEXEC, `descriptor ${fd}, ${target}, would be inherited`);
  }
});

/** Whatever returns a new descriptor and can make it close-on-exec. A pidfd and what an ioctl of a namespace returns always are. */
const MAKING =
  'open,openat,openat2,creat,socket,socketpair,accept,accept4,recvmsg,recvmmsg,dup,dup2,dup3,fcntl,pipe,pipe2,eventfd,eventfd2,' +
  'epoll_create,epoll_create1,inotify_init,inotify_init1,memfd_create,timerfd_create,signalfd,signalfd4,userfaultfd,perf_event_open,' +
  'fsopen,fspick,fsmount,open_tree,pidfd_getfd,open_by_handle_at,fanotify_init,memfd_secret,io_uring_setup';

/** A new thread's JavaScript engine looks at the map of its memory, for less than a millisecond. */
const isOfV8 = (call: string): boolean => call.startsWith('openat(AT_FDCWD, "/proc/self/maps", O_RDONLY)');

const threadsOf = (pid: number): number[] => readdirSync(`/proc/${pid}/task`).map(Number);

test('no descriptor is made that is close-on-exec only later: another thread may start a program at any moment', async () => {
  const threads = new Set(threadsOf(daemon.pid));
  const known = MAKING.split(',').map((syscall) => `?${syscall}`); // not every architecture has all of them
  const trace = await traceCalls(daemon.pid, known);
  const other = await startActor({ uid: 4764 }); // a namespace of its own: the helper is started in between
  try {
    await other.do(mountOnce, { address: daemon.address, image });
    if (!noSample) await other.do(mountImageOnce, { address: daemon.address, image: 'sample' });
    for (const thread of threadsOf(daemon.pid)) threads.add(thread);
  } finally {
    await other.stop();
  }
  const calls = [...(await trace.finish())].flatMap(([thread, lines]) => (threads.has(thread) ? lines : []));
  const made = calls.filter(
    (call) => /\) += \d+/.test(call) && (!call.startsWith('fcntl') || call.includes('F_DUPFD')) && !isOfV8(call),
  );
  for (const call of made) assert.match(call, /CLOEXEC/);
  for (const syscall of ['openat2', 'accept4', 'recvmsg', 'fsopen', 'fsmount', 'open_tree', 'fcntl', 'socketpair'])
    assert.ok(
      made.some((call) => call.startsWith(`${syscall}(`)),
      `${syscall} was not called`,
    );
});

test('the one program that is started gets its four descriptors and the way to its namespaces, whatever the daemon holds', async () => {
  await holdMuch();
  // Its first call after it has looked where it is: nothing has been closed yet.
  const trace = await traceCalls(daemon.pid, ['getgroups'], ['getgroups:signal=SIGSTOP:when=1']);
  const other = await startActor({ uid: 4765 });
  const mounted = other.do(mountOnce, { address: daemon.address, image });
  mounted.catch(() => {}); // reported below
  try {
    await daemon.eventually('the helper stands still', () => trace.hasSeen('stopped by SIGSTOP'));
    const [child] = childrenOf(daemon.pid) as [number];
    const kinds = ownFds(child).map(
      ([fd, target]) => `${fd} ${target.replace(/:\[\d+\]$/, '').replace(/^\/proc\/\d+$/, 'its own')}`,
    );
    assert.deepEqual(kinds, ['0 socket', '1 socket', '2 /dev/null', '3 mnt', '4 user', '5 its own']);
    process.kill(child, 'SIGCONT');
    await mounted;
  } finally {
    await trace.finish();
    await other.stop();
  }
});

test('the helper as it stands in the namespace has its two pipes alone, whatever it was given', async () => {
  const secret = openSync('/etc/shadow', 'r'); // inherited by mistake, let us say: close-on-exec is not all that protects it
  const park = await startPark(user.pid, { extra: [secret, secret, secret] });
  try {
    assert.deepEqual([...openFds(park.pid).keys()], [0, 1]);
  } finally {
    assert.equal(await park.end(), 0, 'it ends when its pipe does');
    closeSync(secret);
  }
});
