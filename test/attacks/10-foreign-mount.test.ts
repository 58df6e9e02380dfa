// Row 10: a caller sees, ends or disturbs the mounts of another. Defences: a list shows each caller its own; there is no method that
// acts on a mount by its number; each mount has a superblock of its own, whose death concerns its owner alone.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, makeErofs, makeSampleRepository, policyText } from '../support/images.js';
import { withoutSample } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';

const A = 4721;
const B = 4722;
const LIMIT = 4;
const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const repository = join(scratch.path, 'repository');
const sampleRepository = join(scratch.path, 'sample-repository');
let daemon: Daemon;
let a: Actor;
let b: Actor;
let sample: string | undefined;

before(async () => {
  const digests = [makeErofs(image, { hello: 'hello\n' })];
  addToRepository(repository, image, 'plain');
  if (!withoutSample()) digests.push((sample = makeSampleRepository(sampleRepository)));
  const repositories: Record<string, 'trusted'> = { [repository]: 'trusted' };
  if (sample !== undefined) repositories[sampleRepository] = 'trusted';
  const extra = `[limits]\nmounts-per-user = ${LIMIT}\n`;
  daemon = await startDaemon({ policy: policyText({ digests, repositories, extra }) });
  a = await startActor({ uid: A });
  b = await startActor({ uid: B });
});
after(async () => {
  await a?.stop();
  await b?.stop();
  await daemon?.stop();
  scratch.remove();
});

/** Mounts and attaches. Returns the id of the mount. */
function mountAs(actor: Actor, kind: 'erofs' | 'composefs'): Promise<string> {
  return actor.do(
    ({ client, fs, store }, { address, name }) => {
      const connection = client.connect({ address });
      const { mount, result } = connection.mountImage(name);
      const directory = fs.mkdtempSync('/tmp/cfsmountd-mnt-');
      client.attach(mount, directory);
      for (const one of [mount, connection]) one.close();
      store['directories'] = [...((store['directories'] as string[] | undefined) ?? []), directory];
      return String(result.id);
    },
    { address: daemon.address, name: kind === 'composefs' ? 'sample' : 'plain' },
  );
}

function unmountAll(actor: Actor): Promise<void> {
  return actor.do(({ fs, mount, store }) => {
    for (const directory of (store['directories'] as string[] | undefined) ?? []) {
      mount.umount2(directory, mount.MNT_DETACH);
      fs.rmdirSync(directory);
    }
    store['directories'] = [];
  }, null);
}

const listAs = (actor: Actor): Promise<string[]> =>
  actor.do(
    ({ client }, { address }) => {
      const connection = client.connect({ address });
      const ids = connection.listMounts().map(({ id }) => String(id));
      connection.close();
      return ids;
    },
    { address: daemon.address },
  );

const countOf = async (actor: Actor, expected: number): Promise<boolean> => (await listAs(actor)).length === expected;

async function untilCount(actor: Actor, expected: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) if (await countOf(actor, expected)) return;
  assert.equal((await listAs(actor)).length, expected);
}

test('each caller lists its own mounts and no others; root lists all', async () => {
  const ofA = await mountAs(a, 'erofs');
  const ofB = await mountAs(b, 'erofs');
  assert.deepEqual(await listAs(a), [ofA]);
  assert.deepEqual(await listAs(b), [ofB]);
  const root = await startActor({ uid: 0, namespace: 'none' });
  assert.deepEqual((await listAs(root)).sort(), [ofA, ofB].sort());
  await root.stop();
  await unmountAll(a);
  await unmountAll(b);
  await untilCount(a, 0);
});

for (const kind of ['erofs', 'composefs'] as const) {
  test(
    `what A does with its mount of an image leaves B's mount of the same ${kind} image alone`,
    { skip: kind === 'composefs' && withoutSample() },
    async () => {
      const ofB = await mountAs(b, kind);
      for (let i = 0; i < 3; i++) {
        await mountAs(a, kind);
        await unmountAll(a);
        await untilCount(a, 0);
      }
      assert.deepEqual(await listAs(b), [ofB], "B's is counted still");
      const readable = await b.do(({ fs, store }) => fs.readdirSync((store['directories'] as string[])[0]!).length > 0, null);
      assert.ok(readable);
      await unmountAll(b);
      await untilCount(b, 0);
    },
  );
}

test("A at its limit takes nothing of B's", async () => {
  for (let i = 0; i < LIMIT; i++) await mountAs(a, 'erofs');
  await assert.rejects(mountAs(a, 'erofs'), { code: 'QuotaExceeded' });
  await mountAs(b, 'erofs');
  await unmountAll(a);
  await unmountAll(b);
  await untilCount(a, 0);
});

test('no method takes the number of a mount', async () => {
  const id = await mountAs(b, 'erofs');
  const outcomes = await a.do(
    ({ rawCall }, { socket, id }) =>
      ['Unmount', 'Release', 'Close', 'GetMount', 'CloneMount'].map((member) => {
        const call = { member, signature: 't', body: [BigInt(id)] };
        return rawCall.callRaw(socket, call).what;
      }),
    { socket: daemon.socket, id },
  );
  assert.deepEqual(new Set(outcomes), new Set(['org.freedesktop.DBus.Error.UnknownMethod']));
  const options = await a.do(
    ({ rawCall, variants }, { socket, id }) =>
      ['uid', 'id', 'all', 'user'].map((key) => {
        const call = { member: 'ListMounts', signature: 'a{sv}', body: [[[key, variants.variant('t', BigInt(id))]]] };
        return rawCall.callRaw(socket, call).what;
      }),
    { socket: daemon.socket, id },
  );
  assert.deepEqual(new Set(options), new Set(['BadRequest']));
  await unmountAll(b);
});
