// Row 9: a caller passes a user namespace that is not its own, and so would mount with another's ids, or for nobody. Defences: the owner
// of the namespace, or of one around it below the initial one, must be the caller; and it must have id maps.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';

import type { Fd, OwnedFd } from '../../core/kernel/fd.js';
import { O_RDONLY, openPath } from '../../core/kernel/file.js';
import { usernsOwner } from '../../core/kernel/namespace.js';
import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, eventually, startDaemon } from '../support/daemon.js';
import { handOver } from '../support/hand-over.js';
import { makeErofs, policyText } from '../support/images.js';
import { makeScratch } from '../support/scratch.js';

const A = 4717;
const B = 4718;
const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
let daemon: Daemon;
let attacker: Actor;
let outside: Actor;
const holders: ChildProcess[] = [];

before(async () => {
  const digest = makeErofs(image, { hello: 'hello\n' });
  daemon = await startDaemon({ policy: policyText({ digests: [digest] }) });
  attacker = await startActor({ uid: A });
  outside = await startActor({ uid: A, namespace: 'none' });
});
after(async () => {
  await attacker?.stop();
  await outside?.stop();
  await daemon?.stop();
  scratch.remove();
});
afterEach(() => holders.splice(0).forEach((holder) => holder.kill('SIGKILL')));

/** A process in a user namespace of its own, below that of `parent` if given. */
async function startHolder(command: readonly string[], parent?: ChildProcess): Promise<ChildProcess> {
  const enter = parent ? ['nsenter', '-U', '-t', String(parent.pid)] : [];
  const [program, ...args] = [...enter, ...command, 'sleep', 'infinity'];
  const holder = spawn(program, args, { stdio: 'ignore', cwd: '/' });
  holders.push(holder);
  const above = readlinkSync(`/proc/${parent?.pid ?? 'self'}/ns/user`);
  const host = readlinkSync('/proc/self/ns/user');
  await eventually('the namespace is made', () => {
    const own = readlinkSync(`/proc/${holder.pid}/ns/user`);
    return own !== above && own !== host;
  });
  return holder;
}

const as = (uid: number): string[] => ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--'];

function writeMaps(holder: ChildProcess, text: string, files = ['uid_map', 'gid_map']): void {
  for (const file of files) writeFileSync(`/proc/${holder.pid}/${file}`, text);
}

const usernsOf = (process: { readonly pid?: number | undefined }): OwnedFd => openPath(`/proc/${process.pid}/ns/user`, O_RDONLY);

/** Mounts as A with the namespace given. Returns the error's code, or 'mounted'. */
async function mountWith(userns: Fd, caller: Actor = attacker): Promise<string> {
  await handOver(caller, 'userns', userns);
  return caller.do(
    ({ client, file, store }, { address, image }) => {
      const connection = client.connect({ address });
      const fd = file.openPath(image, file.O_RDONLY);
      const userns = store['userns'] as OwnedFd;
      try {
        connection.mountFile(fd, [], { userns }).mount.close();
        return 'mounted';
      } catch (error) {
        return (error as { code?: string }).code ?? String(error);
      } finally {
        for (const one of [fd, userns, connection]) one.close();
      }
    },
    { address: daemon.address, image },
  );
}

test("another user's namespace is refused", async () => {
  using userns = usernsOf(await startHolder([...as(B), 'unshare', '-U', '-r']));
  assert.equal(usernsOwner(userns), B);
  assert.equal(await mountWith(userns), 'BadUserNamespace');
  assert.equal(await mountWith(userns, outside), 'BadUserNamespace');
});

test("a namespace nested in another user's is refused", async () => {
  const parent = await startHolder([...as(B), 'unshare', '-U', '-r']);
  using userns = usernsOf(await startHolder(['unshare', '-U', '-r'], parent));
  assert.equal(await mountWith(userns), 'BadUserNamespace');
});

test("the host's own namespace is refused, also to a caller that lives in it", async () => {
  using userns = openPath('/proc/self/ns/user', O_RDONLY);
  assert.equal(await mountWith(userns), 'BadUserNamespace');
  assert.equal(await mountWith(userns, outside), 'BadUserNamespace');
});

test('a namespace of root is refused, and so is the parent of one’s own when it is root’s', async () => {
  const parent = await startHolder(['unshare', '-U']);
  writeMaps(parent, '0 0 65536\n');
  using roots = usernsOf(parent);
  assert.equal(usernsOwner(roots), 0);
  assert.equal(await mountWith(roots), 'BadUserNamespace');
  const child = await startHolder(['-S', String(A), '-G', String(A), '--', 'unshare', '-U', '-r'], parent);
  using own = usernsOf(child);
  assert.equal(usernsOwner(own), A);
  assert.equal(await mountWith(own), 'mounted', 'its own below it is its own');
});

test('a namespace without id maps, or with one of the two, is refused', async () => {
  const none = await startHolder([...as(A), 'unshare', '-U']);
  using unmapped = usernsOf(none);
  assert.equal(await mountWith(unmapped), 'BadUserNamespace');
  writeMaps(none, `0 ${A} 1\n`, ['uid_map']);
  assert.equal(await mountWith(unmapped), 'BadUserNamespace');
  writeMaps(none, `0 ${A} 1\n`, ['gid_map']);
  assert.equal(await mountWith(unmapped), 'mounted');
});

test("a dead namespace of another is refused; one's own gives a mount whose flags are locked all the same", async () => {
  for (const [uid, expected] of [
    [B, 'BadUserNamespace'],
    [A, 'mounted'],
  ] as const) {
    const holder = await startHolder([...as(uid), 'unshare', '-U', '-r']);
    using userns = usernsOf(holder);
    const gone = new Promise((resolve) => holder.once('exit', resolve));
    holder.kill('SIGKILL');
    await gone;
    assert.equal(await mountWith(userns), expected, `owned by ${uid}`);
  }
});

test("one's own namespace is accepted, and one nested in it, from inside and from outside", async () => {
  const parent = await startHolder([...as(A), 'unshare', '-U', '-r']);
  const child = await startHolder(['-S', '0', '-G', '0', '--', 'unshare', '-U', '-r'], parent);
  using own = usernsOf(parent);
  using nested = usernsOf(child);
  for (const caller of [attacker, outside]) {
    assert.equal(await mountWith(own, caller), 'mounted');
    assert.equal(await mountWith(nested, caller), 'mounted');
  }
});

test("root itself gets nothing for the host's namespace", async () => {
  const root = await startActor({ uid: 0, namespace: 'none' });
  try {
    using userns = openPath('/proc/self/ns/user', O_RDONLY);
    assert.equal(await mountWith(userns, root), 'BadUserNamespace');
  } finally {
    await root.stop();
  }
});
