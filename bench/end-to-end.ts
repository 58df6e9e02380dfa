// (b) What a caller waits for: MountImage and the close of what came back, from processes in user namespaces of their own.
import { type Agent, asUser, startAgent } from './agent.js';
import type { CallerOperations } from './caller-agent.js';
import { type Floor, startFloor } from './floor.js';
import { collectSamples, figure, ratio, type Samples, type Section } from './results.js';
import {
  addSample,
  addSmallErofs,
  type Image,
  makeRepository,
  someUsers,
  startBus,
  startDaemon,
  WITHOUT_SAMPLE,
} from './setting.js';
import { shuffle } from './statistics.js';

const ROUNDS = 5;
const WARM_UP = 50;
const PER_ROUND = 100;
const CALLERS = 8;
/** Until all callers have their order to begin. Milliseconds. */
const START_DELAY = 50;
/** How long all callers go on. Milliseconds. */
const TOGETHER = 600;

const GOAL = { atMost: 3, reason: 'the rest is JavaScript, and switches between threads' };

type Caller = Agent<CallerOperations>;

interface Setting {
  readonly floor: Floor;
  /** Callers by transport: each its own user, and then as many of one user. */
  readonly callers: ReadonlyMap<string, { readonly users: readonly Caller[]; readonly oneUser: readonly Caller[] }>;
  readonly images: readonly Image[];
  readonly samples: Samples;
}

async function startCallers(address: string, uids: readonly number[]): Promise<Caller[]> {
  const callers: Caller[] = [];
  for (const uid of uids) {
    const caller = await startAgent<CallerOperations>(asUser(uid), 'caller-agent.js');
    await caller.ask('open', { address });
    callers.push(caller);
  }
  return callers;
}

const floorName = ({ type }: Image): string => `${type}: locked floor`;
const oneName = ({ type }: Image, transport: string): string => `${type}: ${transport}, 1 client`;
const manyName = ({ type }: Image, transport: string, whose: string): string =>
  `${type}: ${transport}, ${CALLERS} clients of ${whose}`;
const rateName = (name: string): string => `${name}, all together`;

async function measureMany(callers: readonly Caller[], image: string, name: string, samples: Samples): Promise<void> {
  for (const caller of callers) await caller.ask('mounts', { image, warmUp: 5, n: 0 });
  const at = Number(process.hrtime.bigint()) / 1e6 + START_DELAY;
  const runs = await Promise.all(
    callers.map((caller) => caller.ask('mounts', { image, warmUp: 0, n: 1e6, at, forMs: TOGETHER })),
  );
  const seconds = (Math.max(...runs.map(({ ended }) => ended)) - Math.min(...runs.map(({ began }) => began))) / 1000;
  samples.add(
    name,
    runs.flatMap((run) => run.samples),
  );
  samples.add(rateName(name), [runs.flatMap((run) => run.samples).length / seconds]);
}

/** The measurements of one round, to be taken in any order. */
function stepsOf({ floor, callers, images, samples }: Setting): (() => Promise<void>)[] {
  return images.flatMap((image) => [
    async () => {
      const kept = image.type === 'composefs'; // as the daemon does
      const order = { digest: image.digest, kept, locked: true, warmUp: WARM_UP, n: PER_ROUND };
      samples.add(floorName(image), (await floor.agent.ask('mounts', order)).whole);
    },
    ...[...callers].flatMap(([transport, { users, oneUser }]) => [
      async () => {
        const run = await users[0]!.ask('mounts', { image: image.name, warmUp: WARM_UP, n: PER_ROUND });
        samples.add(oneName(image, transport), run.samples);
      },
      () => measureMany(users, image.name, manyName(image, transport, `${CALLERS} users`), samples),
      () => measureMany(oneUser, image.name, manyName(image, transport, 'one user'), samples),
    ]),
  ]);
}

function summarise({ callers, images, samples }: Setting): Pick<Section, 'figures' | 'ratios'> {
  const transports = [...callers.keys()];
  const manyOf = (image: Image, transport: string): string[] =>
    [`${CALLERS} users`, 'one user'].map((whose) => manyName(image, transport, whose));
  const figures = images.flatMap((image) => [
    figure(floorName(image), 'µs', samples.all(floorName(image))),
    ...transports.map((transport) => oneName(image, transport)).map((name) => figure(name, 'µs', samples.all(name))),
    ...transports
      .flatMap((transport) => manyOf(image, transport))
      .flatMap((name) => [
        figure(name, 'µs', samples.all(name)),
        figure(rateName(name), 'mounts/s', samples.all(rateName(name))),
      ]),
  ]);
  const ratios = images.flatMap((image) =>
    transports.map((transport) => {
      const name = oneName(image, transport);
      const goal = transport === 'direct' ? GOAL : undefined;
      return ratio(`${name} / locked floor`, samples.rounds(name), samples.rounds(floorName(image)), goal);
    }),
  );
  return { figures, ratios };
}

export async function measureEndToEnd(scratch: string, random: () => number): Promise<Section> {
  const repository = makeRepository(scratch);
  const sample = addSample(repository);
  const images = [...(sample ? [sample] : []), addSmallErofs(repository, scratch)];
  const bus = await startBus(scratch);
  const daemon = await startDaemon(scratch, repository, bus?.address ?? 'none');
  const floor = await startFloor(repository);
  const callers = new Map<string, { users: Caller[]; oneUser: Caller[] }>();
  const addresses = { direct: daemon.address, ...(bus ? { 'dbus-daemon': `bus:${bus.address}` } : {}) };
  const setting: Setting = { floor, callers, images, samples: collectSamples() };
  try {
    for (const [transport, address] of Object.entries(addresses)) {
      const [one, ...uids] = someUsers(CALLERS + 1);
      const oneUser = await startCallers(
        address,
        uids.map(() => one!),
      );
      callers.set(transport, { users: await startCallers(address, uids), oneUser });
    }
    for (let round = 0; round < ROUNDS; round++) for (const step of shuffle(stepsOf(setting), random)) await step();
  } finally {
    for (const { users, oneUser } of callers.values()) for (const caller of [...users, ...oneUser]) await caller.stop();
    await floor.stop();
    await daemon.stop();
    await bus?.stop();
  }
  const notes = [...(sample ? [] : [WITHOUT_SAMPLE]), ...(bus ? [] : ['no dbus-daemon on this machine: direct socket only'])];
  return { id: 'b', title: 'end to end: MountImage and close, warm', ...summarise(setting), notes };
}
