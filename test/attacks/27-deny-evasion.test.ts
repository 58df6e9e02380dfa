// Row 27, rules that deny: in a user namespace of its own a user sheds groups and takes on subordinate ids, and the administrator meant the user. Needed: such
// rules look at who is behind the caller, too (daemon/judged-caller.ts, policy/matching.ts).
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';

import { type Actor, type ActorOptions, startActor } from '../support/actor.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { makeErofs, policyText } from '../support/images.js';
import { makeScratch } from '../support/scratch.js';
import { mountOnce } from '../support/steps.js';

const USER = 4791;
/** Users that every Debian has, each in the group of its own name and number. */
const [MEMBER, OTHER] = [1, 2];
const scratch = makeScratch();
const image = join(scratch.path, 'image.erofs');
const actors: Actor[] = [];
let digest: string;
let daemon: Daemon;

before(() => {
  digest = makeErofs(image, { 'hello.txt': 'hello\n' });
});
afterEach(async () => {
  await Promise.all(actors.splice(0).map((one) => one.stop()));
  await daemon?.stop();
});
after(() => scratch.remove());

async function startDenying(whom: string): Promise<void> {
  const denied = `[[rule]]\nname = "not them"\ndeny = true\n${whom}\n`;
  daemon = await startDaemon({ policy: `${policyText({ digests: [digest] })}\n${denied}` });
}

async function attempt(options: ActorOptions): Promise<string> {
  const actor = await startActor(options);
  actors.push(actor);
  return actor.do(mountOnce, { address: daemon.address, image }).then(
    () => 'mounted',
    ({ code, message }: Error & { code: string }) => `${code}: ${message}`,
  );
}

const shedding = (uid: number, gid: number): string[] => [
  ...['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--'],
  ...['unshare', '-U', '-r', '-m'],
];
const DENIED = 'NotTrusted: rule "not them" denies the image';

test('a member of a denied group who has shed the group is refused, others are not', async () => {
  await startDenying(`groups = [${MEMBER}]`);
  assert.equal(await attempt({ uid: MEMBER }), DENIED);
  assert.equal(await attempt({ uid: MEMBER, through: shedding(MEMBER, OTHER) }), DENIED);
  assert.equal(await attempt({ uid: OTHER }), 'mounted');
});

test('a denied user who calls as a subordinate id is refused, also with a namespace of that id', async () => {
  await startDenying(`users = [${USER}]`);
  const root = await startActor({ uid: USER, namespace: 'many', subordinate: 710_000 });
  actors.push(root);
  assert.equal(
    await root.do(mountOnce, { address: daemon.address, image }).catch(({ message }: Error) => message),
    DENIED.slice(12),
  );
  const inside = ['nsenter', '-U', '-m', '-t', String(root.pid), '-S', '5', '-G', '5', 'unshare', '-U', '-r', '-m'];
  assert.equal(await attempt({ uid: USER, through: inside }), DENIED);
  assert.equal(await attempt({ uid: USER + 1 }), 'mounted');
});
