// Row 26: more mounts than the policy allows, more room than there is for one user. Needed: room is reserved before a mount is built (accounts.ts,
// called by methods/hand-out.ts), a mount counts from before it is on its owner's ground until its superblock dies, whoever owns the outermost
// user namespace pays (userns.ts), and private copies in the making count by their size (copies.ts).
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { afterEach, before, after, beforeEach, test } from 'node:test';

import { connect } from '../../client/index.js';
import { type Actor, type ActorOptions, startActor } from '../support/actor.js';
import { type PrivateBus, startPrivateBus } from '../support/private-bus.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { startFuse } from '../support/fuse-server.js';
import { makeErofs, policyText } from '../support/images.js';
import { PATIENCE } from '../support/machine.js';
import type { Kit } from '../support/kit.js';
import { joinParked } from '../support/parked.js';
import { makeScratch } from '../support/scratch.js';
import { closeStored } from '../support/steps.js';
import { injectFault } from '../support/strace.js';

const LIMIT = 3;
/** A user that every Debian has: a bus serves only users it can look up. */
const UID = 2;
const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const actors: Actor[] = [];
let bus: PrivateBus;
let daemon: Daemon;

before(async () => {
  const digest = makeErofs(image, { 'hello.txt': 'hello\n', 'directory/file': 'x' });
  const policy = policyText({ digests: [digest], extra: `[limits]\nmounts-per-user = ${LIMIT}\n` });
  bus = await startPrivateBus();
  daemon = await startDaemon({ policy, flags: ['--bus', `unix:path=${bus.socket}`] });
});
after(async () => {
  await daemon?.kill();
  await bus?.stop();
  scratch.remove();
});
let user: Actor;
beforeEach(async () => (user = await actor({ uid: UID })));
afterEach(async () => {
  await Promise.all(actors.splice(0).map((one) => one.stop()));
  await daemon.eventually('no mount counts any more', () => liveMounts() === 0);
});

async function actor(options: ActorOptions): Promise<Actor> {
  const started = await startActor(options);
  actors.push(started);
  return started;
}

/** Root sees everybody's. */
function liveMounts(): number {
  using client = connect({ address: daemon.address });
  return client.listMounts().length;
}

const direct = (): string => daemon.address;
const onBus = (): string => `bus:unix:path=${bus.socket}`;

interface Ask {
  readonly address: string;
  readonly image: string;
  readonly count: number;
}

/** Asks for mounts, keeps those it gets in the store, and returns how many, and how the others were refused. */
function takeMounts({ client, file, store }: Kit, { address, image, count }: Ask): { got: number; refused: string[] } {
  const connection = client.connect({ address });
  const kept = ((store['mounts'] as unknown[]) ??= []);
  const refused: string[] = [];
  let got = 0;
  const fd = file.openPath(image, file.O_RDONLY);
  for (let i = 0; i < count; i++) {
    try {
      kept.push(connection.mountFile(fd, []).mount);
      got++;
    } catch (error) {
      refused.push((error as { code: string }).code);
    }
  }
  fd.close();
  connection.close();
  return { got, refused };
}
const take = (who: Actor, count: number, address = direct()) => who.do(takeMounts, { address, image, count });
const FULL = { got: 0, refused: ['QuotaExceeded'] };

test('a user at its limit is refused over both transports, and may mount again after letting go', async () => {
  assert.deepEqual(await take(user, 1), { got: 1, refused: [] });
  assert.deepEqual(await take(user, 1, onBus()), { got: 1, refused: [] });
  assert.deepEqual(await take(user, 2), { got: 1, refused: ['QuotaExceeded'] });
  assert.deepEqual(await take(user, 1, onBus()), FULL);
  await user.do(closeStored, 'mounts');
  await daemon.eventually('the mounts are gone', () => liveMounts() === 0);
  assert.deepEqual(await take(user, 4, onBus()), { got: 3, refused: ['QuotaExceeded'] });
});

test('another user is not concerned', async () => {
  await take(user, LIMIT);
  assert.deepEqual(await take(await actor({ uid: 4755 }), LIMIT + 1), { got: LIMIT, refused: ['QuotaExceeded'] });
});

test('the same user in another user namespace, and in one without a name space of its own, is the same user', async () => {
  await take(user, LIMIT);
  assert.deepEqual(await take(await actor({ uid: UID }), 1), FULL);
});

test('a clone, a clone of a directory, and an attached mount count as long as they live', async () => {
  await take(user, LIMIT);
  await user.do(({ mount, store, fs, file }) => {
    const [first, second, third] = store['mounts'] as [never, never, never];
    const directory = fs.mkdtempSync('/tmp/cfsmountd-quota-');
    const clones: { close(): void }[] = [];
    mount.moveMount(first, null, directory);
    clones.push(mount.openTreeClone(first));
    mount.umount2(directory, mount.MNT_DETACH);
    mount.moveMount(second, null, directory);
    const inner = file.openPath(`${directory}/directory`, file.O_PATH | file.O_DIRECTORY);
    clones.push(mount.openTreeClone(inner));
    inner.close();
    mount.umount2(directory, mount.MNT_DETACH);
    mount.moveMount(third, null, directory);
    for (const item of store['mounts'] as { close(): void }[]) item.close();
    store['mounts'] = clones;
    store['directory'] = directory;
  }, null);
  assert.deepEqual(await take(user, 1), FULL);
  assert.equal(liveMounts(), LIMIT);
  await user.do(({ mount, store, fs }) => {
    mount.umount2(store['directory'] as string, 0);
    fs.rmdirSync(store['directory'] as string);
  }, null);
  await daemon.eventually('one is gone', () => liveMounts() === LIMIT - 1);
  assert.deepEqual(await take(user, 2), { got: 1, refused: ['QuotaExceeded'] });
});

test('an open file of a mount that was let go keeps it counted', async () => {
  await take(user, LIMIT);
  await user.do(({ store, file }) => {
    const mounts = store['mounts'] as { raw: number; close(): void }[];
    const files = mounts.map((mount) => file.openWithin(mount as never, 'hello.txt', file.O_RDONLY));
    for (const mount of mounts) mount.close();
    store['mounts'] = files;
  }, null);
  assert.deepEqual(await take(user, 1), FULL);
});

/** In the parked namespace, descriptor 4: takes a clone of whatever arrives there. Returns how many mounts it has clones of. */
function grab({ fs, file, mount, namespace, stat, store }: Kit, { ms }: { ms: number }): number {
  namespace.unshare(namespace.CLONE_FS);
  namespace.setns({ raw: 4 } as never, namespace.CLONE_NEWNS);
  const stage = file.openPath('/stage', file.O_PATH);
  const { device } = stat.statFd(stage);
  const clones = new Map<bigint, { close(): void }>();
  for (const end = Date.now() + ms; Date.now() < end;) {
    for (const name of fs.readdirSync('/stage')) {
      try {
        const clone = mount.openTreeClone(stage, name);
        const { device: found } = stat.statFd(clone);
        if (found === device || clones.has(found)) clone.close();
        else clones.set(found, clone);
      } catch {
        // too early or too late
      }
    }
  }
  store['mounts'] = [...clones.values()];
  return clones.size;
}

test('clones that the owner takes of mounts on their way count, though nobody was given the mounts', async () => {
  await take(user, 1);
  await user.do(closeStored, 'mounts');
  const invader = actors[actors.push(await joinParked(daemon.pid, user, UID)) - 1]!;
  const wait = `delay_enter=${20_000 * PATIENCE}`; // microseconds: the invader always wins the race between the arrival of a mount and its clone
  const delay = await injectFault(daemon.pid, 'open_tree', wait, '1+');
  const grabbing = invader.do(grab, { ms: 1_200 * PATIENCE });
  await user.do(
    ({ raw, rawCall, client, file }, { socket, image }) => {
      const fds = [file.openPath(image, file.O_RDONLY), client.ownUserns()];
      const call = rawCall.encodeCall({ member: 'MountFile', signature: 'hahha{sv}', body: [0, [], 1, []], fds });
      for (let i = 0; i < 3 * 3; i++) {
        const connection = raw.connectAuthenticated(socket);
        connection.send(call, fds);
        connection.close();
      }
      for (const fd of fds) fd.close();
    },
    { socket: daemon.socket, image },
  );
  const grabbed = await grabbing;
  await delay.detach();
  assert.deepEqual({ grabbed, live: liveMounts() }, { grabbed: LIMIT, live: LIMIT });
  assert.deepEqual(await take(user, 1), FULL);
});

test('mounts of a process that died are given back; those that another process holds are not', async () => {
  const heir = await actor({ uid: UID });
  await take(user, 2);
  await take(heir, 1);
  assert.deepEqual(await take(heir, 1), FULL);
  await user.stop();
  await daemon.eventually('two are gone', () => liveMounts() === 1);
  assert.deepEqual(await take(heir, 3), { got: 2, refused: ['QuotaExceeded'] });
});

test('of many requests at once, exactly as many win as there is room', async () => {
  await take(user, LIMIT - 1);
  const won = await user.do(
    async ({ client, file, store }, { addresses, image }) => {
      const fd = file.openPath(image, file.O_RDONLY);
      const connections = Array.from({ length: 12 }, (_, i) => client.connect({ address: addresses[i % addresses.length] }));
      const outcomes = await Promise.allSettled(connections.map((connection) => connection.mountFileAsync(fd, [])));
      const got = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value.mount] : []));
      const codes = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason.code as string] : []));
      (store['mounts'] as unknown[]).push(...got);
      for (const connection of connections) connection.close();
      fd.close();
      return { got: got.length, codes: [...new Set(codes)] };
    },
    { addresses: [direct(), onBus()], image },
  );
  assert.deepEqual(won, { got: 1, codes: ['QuotaExceeded'] });
});

test('a user under many subordinate ids, each with a user namespace of its own, is one user', async () => {
  const root = await actor({ uid: 4756, namespace: 'many', subordinate: 700_000 });
  assert.deepEqual(await take(root, 2), { got: 2, refused: [] });
  // Inside, children become other ids and make namespaces of their own.
  const outcomes = await root.do(
    async (_, { address, image, main }) => {
      const { spawn } = await import('node:child_process');
      const runs = [1, 2, 3].map(async (id) => {
        const script = `
          const { kit } = await import(${JSON.stringify(main)});
          const connection = kit.client.connect({ address: ${JSON.stringify(address)} });
          const fd = kit.file.openPath(${JSON.stringify(image)}, kit.file.O_RDONLY);
          try { connection.mountFile(fd, []); console.log('got ' + process.pid); } catch (error) { console.log(error.code); }
          process.stdin.resume().on('end', () => process.exit(0));`;
        const command = ['--reuid', String(id), '--regid', String(id), '--clear-groups', 'unshare', '-U', '-r', '-m'];
        const child = spawn('setpriv', [...command, process.execPath, '--input-type=module', '-e', script], {
          stdio: ['pipe', 'pipe', 'inherit'],
        });
        const line = await new Promise<string>((resolve) => child.stdout.once('data', (data) => resolve(String(data))));
        return { line: line.trim().split(' ')[0]!, child };
      });
      const done = await Promise.all(runs);
      for (const { child } of done) child.stdin.end();
      return done.map(({ line }) => line).sort();
    },
    { address: direct(), image, main: new URL('../support/kit.js', import.meta.url).href },
  );
  assert.deepEqual(outcomes, ['QuotaExceeded', 'QuotaExceeded', 'got']);
});

const ROOM = 2 * 2 ** 30;

/** Sends several checks of one file at once; returns how each ended. */
function checkAtOnce(
  { raw, rawCall, file }: Kit,
  { socket, path, count }: { socket: string; path: string; count: number },
): string[] {
  const fd = file.openPath(path, file.O_RDONLY);
  const connection = raw.connectAuthenticated(socket);
  const call = rawCall.encodeCall({ member: 'CheckFile', signature: 'haha{sv}', body: [0, [], []], fds: [fd] });
  connection.send(Buffer.concat(Array(count).fill(call)), Array(count).fill(fd));
  let text = '';
  const codes = () => (text.match(/Mount1\.Error\.\w+/g) ?? []).map((name) => name.slice('Mount1.Error.'.length));
  while (codes().length < count) {
    const got = connection.receive(10_000);
    if (got === null || got === 'timeout') throw new Error(`no answer after ${text}`);
    text += got.bytes.toString('latin1');
  }
  connection.close();
  fd.close();
  return codes().sort();
}

/** A user with a file as large as is asked for, to be had in no time: it cannot be read. Returns how checks of it end, made all at once. */
async function withLargeFile(uid: number, size: number): Promise<(count: number) => Promise<string[]>> {
  const server = await startFuse({ uid }, scratch.path, { size, onRead: 5 /* EIO */, onFlush: 0 }, true);
  actors.push(server.actor);
  const one = await actor({ uid, join: server.actor.pid });
  return (count) => one.do(checkAtOnce, { socket: daemon.socket, path: server.path, count });
}

test('private copies in the making: of one user they have so much room, which is given back', async () => {
  const check = await withLargeFile(4757, ROOM);
  assert.deepEqual(await check(1), ['BadImage']);
  assert.deepEqual(await check(3), ['BadImage', 'QuotaExceeded', 'QuotaExceeded']);
  assert.deepEqual(await check(1), ['BadImage']);
});

test('a private copy of one byte more than there is room for is refused', async () => {
  const check = await withLargeFile(4758, ROOM + 1);
  assert.deepEqual(await check(1), ['QuotaExceeded']);
});
