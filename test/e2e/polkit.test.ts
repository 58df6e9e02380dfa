// Rules that leave an image to polkit: a real polkitd on a real bus, over both transports.
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { eventually, startDaemon } from '../support/daemon.js';
import { makeErofs } from '../support/images.js';
import { CFSCTL } from '../support/cfsctl.js';
import { type Agent, startAgent } from '../support/polkit.js';
import {
  ACTION,
  ASKED,
  DENIED,
  GRANTED,
  type PolkitSetting,
  startPolkitSetting,
  type Transport,
  tryMount,
} from '../support/polkit-setting.js';
import { outputAs } from '../support/run-as.js';
import { makeScratch } from '../support/scratch.js';

const TRANSPORTS: readonly Transport[] = ['direct', 'bus'];
const LEFT = 'NotAuthorized: rule "left to polkit" leaves the image to polkit, and';
let setting: PolkitSetting;
let actors: Readonly<Record<'granted' | 'denied' | 'asked', Actor>>;
let agent: Agent | undefined;

before(async () => {
  setting = await startPolkitSetting();
  const [granted, denied, asked] = await Promise.all([GRANTED, DENIED, ASKED].map((uid) => startActor({ uid })));
  actors = { granted: granted!, denied: denied!, asked: asked! };
});
afterEach(() => {
  agent?.stop();
  agent = undefined;
});
after(async () => {
  for (const actor of Object.values(actors ?? {})) await actor.stop();
  await setting?.stop();
});

const mountAs = (who: keyof typeof actors, transport: Transport, image = 'base'): Promise<string> =>
  tryMount(actors[who], { address: setting.addressOf(transport), image });

/** The call without the flag that allows interaction, on the direct socket. */
const mountSilently = (who: keyof typeof actors, timeoutMs = 30_000) =>
  actors[who].do(
    ({ rawCall, client }, { socket, timeoutMs }) => {
      const userns = client.ownUserns();
      const { what, body } = rawCall.callRaw(
        socket,
        { member: 'MountImage', signature: 'sha{sv}', body: ['base', 0, []], fds: [userns] },
        timeoutMs,
      );
      userns.close();
      return `${what}: ${String((body as unknown[])[0])}`;
    },
    { socket: setting.daemon.socket, timeoutMs },
  );

async function untilAsked(count = 1): Promise<void> {
  await eventually('the agent is asked', () => agent!.asked.length === count);
}

for (const transport of TRANSPORTS) {
  describe(`over ${transport}`, () => {
    test('a rule of polkit says yes: mounted, with the rule in the audit line', async () => {
      for (const image of ['base', setting.image]) assert.equal(await mountAs('granted', transport, image), 'mounted');
      const { verdict, rule, uid } = setting.daemon.audits().at(-1)!;
      assert.deepEqual([verdict, rule, uid], ['allow', 'left to polkit', GRANTED]);
    });

    test('a rule of polkit says no: refused, and audited', async () => {
      assert.equal(await mountAs('denied', transport), `${LEFT} it says no`);
      const { verdict, rule, error } = setting.daemon.audits().at(-1)!;
      assert.deepEqual([verdict, rule, error], ['deny', 'left to polkit', 'NotAuthorized']);
    });

    test('a password is needed, and there is no agent: refused', async () => {
      assert.equal(await mountAs('asked', transport), `${LEFT} nobody gave it a password`);
    });

    test('a password is needed: the agent is told what for, and the mount is made when it was right', async () => {
      agent = await startAgent(setting.bus, actors.asked.pid);
      const outcome = mountAs('asked', transport);
      await untilAsked();
      const [{ action, message }] = agent.asked as [Agent['asked'][0]];
      assert.equal(action, ACTION);
      assert.equal(message, 'Authentication is required to mount the file system image base.');
      await agent.asked[0]!.grant();
      assert.equal(await outcome, 'mounted');
    });

    test('while a person is asked, the image is not held, and root lists mounts at once', async () => {
      agent = await startAgent(setting.bus, actors.asked.pid);
      const held = (): number => [...setting.daemon.fds().values()].filter((name) => name.includes(objectPath())).length;
      const before = held();
      const outcome = mountAs('asked', transport);
      await untilAsked();
      assert.equal(held(), before);
      const mounts = outputAs(0, [CFSCTL, '--address', setting.daemon.address, '--timeout', '5', '--json', 'mounts']);
      assert.equal(mounts, '[]\n');
      await agent.asked[0]!.grant();
      assert.equal(await outcome, 'mounted');
    });

    test('the policy has changed when the password comes: refused', async () => {
      agent = await startAgent(setting.bus, actors.asked.pid);
      const outcome = mountAs('asked', transport);
      await untilAsked();
      setting.daemon.writePolicy(setting.policy.replace('polkit =', `users = [${GRANTED}]\npolkit =`));
      reload();
      await agent.asked[0]!.grant();
      assert.match(await outcome, /^NotTrusted: no image is trusted for uid/);
      setting.daemon.writePolicy(setting.policy);
      reload();
    });

    test('cfsctl check says that polkit would be asked, and asks nobody', async () => {
      agent = await startAgent(setting.bus, actors.asked.pid);
      const because = await actors.asked.do(
        ({ client }, { address }) => {
          const connection = client.connect({ address });
          const { verdict, because } = connection.checkImage('base');
          connection.close();
          return `${verdict}: ${because}`;
        },
        { address: setting.addressOf(transport) },
      );
      assert.equal(because, `ask: rule "left to polkit" asks polkit to grant ${ACTION}`);
      assert.equal(agent.asked.length, 0);
    });
  });
}

const objectPath = (): string => setting.digest.slice('sha256:xx'.length);
const reload = (): string => outputAs(0, [CFSCTL, '--address', setting.daemon.address, 'reload']);

test('a call that does not allow interaction is refused where a password would be needed, and the agent is not asked', async () => {
  agent = await startAgent(setting.bus, actors.asked.pid);
  const refused =
    'NotAuthorized: rule "left to polkit" leaves the image to polkit, and it would ask for a password, and this call does not allow that';
  assert.match(await mountSilently('asked'), new RegExp(`^${refused}\n`));
  assert.equal(agent.asked.length, 0);
});

test('a call that does not allow interaction is mounted where none is needed', async () => {
  assert.match(await mountSilently('granted'), /^reply: /);
});

test('a file that changes under the question: what was granted is not mounted', async () => {
  agent = await startAgent(setting.bus, actors.asked.pid);
  const scratch = makeScratch();
  const mine = join(scratch.path, 'mine.erofs');
  copyFileSync(setting.image, mine);
  const outcome = mountAs('asked', 'direct', mine);
  await untilAsked();
  const other = join(scratch.path, 'other.erofs');
  makeErofs(other, { 'evil.txt': 'evil\n' });
  writeFileSync(mine, readFileSync(other));
  await agent.asked[0]!.grant();
  assert.match(await outcome, /^NotTrusted: digest .* is not trusted/);
  scratch.remove();
});

test('polkitd hangs: refused in time, and all is well when it goes on', { timeout: 90_000 }, async () => {
  process.kill(setting.polkit.pid, 'SIGSTOP');
  const started = performance.now();
  const refused = await mountSilently('granted');
  assert.match(refused, /and it did not answer within 20 s\n/);
  assert.ok(performance.now() - started < 25_000);
  process.kill(setting.polkit.pid, 'SIGCONT');
  assert.equal(await mountAs('granted', 'direct'), 'mounted');
});

test('polkitd is killed under the question: refused', async () => {
  agent = await startAgent(setting.bus, actors.asked.pid);
  const outcome = mountAs('asked', 'bus');
  await untilAsked();
  await setting.polkit.stop();
  assert.match(await outcome, /^NotAuthorized: .* and it could not be asked$/);
});

test('no polkit: refused, saying so; and it is found when it comes', async () => {
  for (const transport of TRANSPORTS) assert.equal(await mountAs('granted', transport), `${LEFT} there is none on this host`);
  await setting.restartPolkit();
  assert.equal(await mountAs('granted', 'direct'), 'mounted');
});

test('no bus: refused, saying so', async () => {
  const daemon = await startDaemon({ policy: setting.policy });
  try {
    const outcome = await tryMount(actors.granted, { address: daemon.address, image: 'base' });
    assert.equal(outcome, `${LEFT} there is no system bus`);
  } finally {
    await daemon.stop();
  }
});
