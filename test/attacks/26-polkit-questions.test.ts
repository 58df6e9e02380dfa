// Row 26, questions to polkit: each opens a dialog, and holds a call for two minutes. Needed: a user has so many at a time (daemon/questions.ts).
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { type Actor, startActor } from '../support/actor.js';
import { eventually } from '../support/daemon.js';
import { type Agent, startAgent } from '../support/polkit.js';
import { ASKED, GRANTED, type PolkitSetting, startPolkitSetting, tryMount } from '../support/polkit-setting.js';

const MOST = 4;
let setting: PolkitSetting;
let actor: Actor;
let agent: Agent;

before(async () => {
  setting = await startPolkitSetting();
  actor = await startActor({ uid: ASKED });
  agent = await startAgent(setting.bus, actor.pid);
});
after(async () => {
  agent?.stop();
  await actor?.stop();
  await setting?.stop();
});

test('a user has so many questions waiting at a time, over both transports; another is asked about all the same', async () => {
  const transports = ['direct', 'bus'] as const;
  const attempts = Array.from({ length: MOST + 4 }, (_, i) =>
    tryMount(actor, { address: setting.addressOf(transports[i % 2]!), image: 'base' }),
  );
  const refused: string[] = [];
  for (const attempt of attempts) void attempt.then((outcome) => outcome === 'mounted' || refused.push(outcome));
  await eventually('the others are refused', () => refused.length === 4);
  for (const outcome of refused) assert.equal(outcome, `QuotaExceeded: uid ${ASKED} has ${MOST} questions waiting at polkit`);
  const other = await startActor({ uid: GRANTED });
  assert.equal(await tryMount(other, { address: setting.addressOf('direct'), image: 'base' }), 'mounted');
  await other.stop();
  await eventually('those are asked', () => agent.asked.length === MOST);
  for (const question of agent.asked) await question.grant();
  const outcomes = await Promise.all(attempts);
  assert.equal(outcomes.filter((outcome) => outcome === 'mounted').length, MOST);
});

test('an answered question makes room for the next', async () => {
  const before = agent.asked.length;
  const attempt = tryMount(actor, { address: setting.addressOf('bus'), image: 'base' });
  await eventually('it is asked', () => agent.asked.length > before);
  await agent.asked.at(-1)!.grant();
  assert.equal(await attempt, 'mounted');
});
