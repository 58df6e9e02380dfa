// (a) What the kernel alone takes.
import { spawn } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { join } from 'node:path';

import { type Agent, asUser, startAgent, AS_ROOT } from './agent.js';
import type { FloorOperations } from './floor-agent.js';
import { collectSamples, figure, ratio, type Section } from './results.js';
import {
  addSample,
  addSmallErofs,
  DIST,
  end,
  type Image,
  makeRepository,
  type Repository,
  someUsers,
  tie,
  until,
  WITHOUT_SAMPLE,
} from './setting.js';
import { shuffle } from './statistics.js';

export interface Floor {
  readonly agent: Agent<FloorOperations>;
  stop(): Promise<void>;
}

/** A process with a pair of namespaces of its own, ready to mount the repository's images for a user's namespace. */
export async function startFloor({ images, objects }: Repository): Promise<Floor> {
  const [user] = someUsers(1);
  const [program, ...args] = asUser(user!);
  const holder = tie(spawn(program, [...args, 'sleep', 'infinity'], { stdio: 'ignore' }));
  const agent = await startAgent<FloorOperations>(AS_ROOT, 'floor-agent.js');
  await until('the user namespace is made', () => hasOwnUserns(holder.pid!) || undefined);
  await agent.ask('makeStage', { helper: join(DIST, 'cfsmountd-park'), usernsOf: holder.pid! });
  for (const { file, digest } of images) await agent.ask('prepare', { file, digest, objects });
  return {
    agent,
    async stop() {
      await agent.stop();
      await end(holder);
    },
  };
}

/** unshare has made the namespace and written its maps by the time it becomes the command. */
function hasOwnUserns(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/exe`).endsWith('/sleep') || readlinkSync(`/proc/${pid}/exe`).endsWith('/coreutils');
  } catch {
    return false;
  }
}

const ROUNDS = 5;
const WARM_UP = 30;
const PER_ROUND = 80;

interface Case {
  readonly name: string;
  readonly image: Image;
  readonly kept: boolean;
  readonly locked: boolean;
}

function casesOf(image: Image): Case[] {
  const steps = image.type === 'composefs' ? 'EROFS, idmap, overlay' : 'EROFS, idmap';
  return [false, true].flatMap((kept) =>
    [false, true].map((locked) => {
      const name = `${image.type}: ${kept ? steps.replace('EROFS', 'kept EROFS cloned') : steps}${locked ? ', lock' : ''}`;
      return { name, image, kept, locked };
    }),
  );
}

export async function measureFloor(scratch: string, random: () => number): Promise<Section> {
  const repository = makeRepository(scratch);
  const sample = addSample(repository);
  const images = [...(sample ? [sample] : []), addSmallErofs(repository, scratch)];
  const floor = await startFloor(repository);
  const samples = collectSamples();
  const cases = images.flatMap(casesOf);
  try {
    for (let round = 0; round < ROUNDS; round++) {
      for (const { name, image, kept, locked } of shuffle(cases, random)) {
        const times = await floor.agent.ask('mounts', { digest: image.digest, kept, locked, warmUp: WARM_UP, n: PER_ROUND });
        samples.add(name, times.whole);
        samples.add(`${name}; until it can be handed out`, times.ready);
      }
    }
  } finally {
    await floor.stop();
  }
  const figures = cases.flatMap(({ name, locked }) =>
    [name, ...(locked ? [`${name}; until it can be handed out`] : [])].map((each) => figure(each, 'µs', samples.all(each))),
  );
  const locks = cases.filter(({ locked }) => locked);
  const ratios = locks.map(({ name }) => {
    const without = name.replace(/, lock$/, '');
    return ratio(`${name} / without`, samples.rounds(name), samples.rounds(without));
  });
  const notes = [
    'one thread, no IPC; every mount is closed again, and the staging and parked namespaces are made once, before',
    'the daemon clones no plain EROFS: each of its mounts is counted by a superblock of its own',
    ...(sample ? [] : [WITHOUT_SAMPLE]),
  ];
  return { id: 'a', title: 'floor: the system calls of a mount in one process', figures, ratios, notes };
}
