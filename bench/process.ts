// (c) cfsctl mount as a whole process.
import { join } from 'node:path';

import { asUser, startAgent } from './agent.js';
import type { CallerOperations } from './caller-agent.js';
import { collectSamples, figure, ratio, type Section } from './results.js';
import { addSample, addSmallErofs, DIST, someUsers, makeRepository, startDaemon, WITHOUT_SAMPLE } from './setting.js';
import { shuffle } from './statistics.js';

const ROUNDS = 5;
const PER_ROUND = 8;

const NODE = 'node -e 0';
const VERSION = 'cfsctl --version';
const MOUNT = 'cfsctl mount';

export async function measureProcess(scratch: string, random: () => number): Promise<Section> {
  const repository = makeRepository(scratch);
  const sample = addSample(repository);
  const image = sample ?? addSmallErofs(repository, scratch);
  const daemon = await startDaemon(scratch, repository);
  const caller = await startAgent<CallerOperations>(asUser(someUsers(1)[0]!), 'caller-agent.js');
  const cfsctl = [process.execPath, join(DIST, 'cfsctl')];
  const commands: Record<string, string[]> = {
    [NODE]: [process.execPath, '-e', '0'],
    [VERSION]: [...cfsctl, '--version'],
    [MOUNT]: [...cfsctl, '--address', daemon.address, 'mount', image.name, 'MOUNTPOINT'],
  };
  const samples = collectSamples();
  try {
    await caller.ask('processes', Object.values(commands));
    for (let round = 0; round < ROUNDS; round++) {
      const order = shuffle(
        Object.keys(commands).flatMap((name) => Array.from({ length: PER_ROUND }, () => name)),
        random,
      );
      const times = await caller.ask(
        'processes',
        order.map((name) => commands[name]!),
      );
      for (const name of Object.keys(commands))
        samples.add(
          name,
          times.filter((_, i) => order[i] === name).map((us) => us / 1000),
        );
    }
  } finally {
    await caller.stop();
    await daemon.stop();
  }
  return {
    id: 'c',
    title: `cfsctl mount (${image.type}) as a whole process, in a user namespace`,
    figures: Object.keys(commands).map((name) => figure(name, 'ms', samples.all(name))),
    ratios: [
      ratio(`${MOUNT} / ${NODE}`, samples.rounds(MOUNT), samples.rounds(NODE)),
      ratio(`${MOUNT} / ${VERSION}`, samples.rounds(MOUNT), samples.rounds(VERSION)),
    ],
    notes: sample ? [] : [WITHOUT_SAMPLE],
  };
}
