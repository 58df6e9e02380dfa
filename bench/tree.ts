// (d) Reading what was mounted: the handed-out mount against the same image mounted by root, and against FUSE servers on the same tree.
import { join } from 'node:path';

import { AS_ROOT, asUser, startAgent } from './agent.js';
import type { CallerOperations } from './caller-agent.js';
import { makeTree } from './make-tree.js';
import { collectSamples, figure, type Ratio, ratio, type Samples, type Section } from './results.js';
import { addSample, type Image, makeRepository, run, someUsers, startDaemon, WITHOUT_SAMPLE } from './setting.js';
import { median, randomFrom, shuffle } from './statistics.js';
import type { TreeOperations } from './tree-agent.js';
import { type Caller, fuseViews, handedOut, mountedByRoot, type Root, type View } from './tree-views.js';

/** Views of one tree, and how often each is read. */
interface Subject {
  /** What the service hands out, and root's own mount: read in turns, so that each reading of one has one of the other beside it. */
  readonly pair: readonly [View, View];
  /** Others, for orientation: read less often. */
  readonly others: readonly View[];
  readonly cold: number;
  readonly warm: number;
}

const GOAL = { atLeast: 0.95, atMost: 1.05 };
const OTHERS_COLD = 2;
const OTHERS_WARM = 3;

/** A way to read a tree, in microseconds. */
interface Reading {
  readonly name: string;
  /** Warm readings that make one sample, their median: some last a few milliseconds only. */
  readonly repeats: number;
  read(view: View): Promise<number>;
}

function readingsOf(files: readonly string[]): Reading[] {
  const ls: Reading = { name: 'ls -lR', repeats: 1, read: ({ reader, directory }) => reader.ask('timeLs', directory) };
  const lstats = [500, 1000].map((count): Reading => {
    const some = files.slice(0, count);
    return {
      name: `lstat of ${count} random files`,
      repeats: 9,
      read: ({ reader, directory }) => reader.ask('lstatFiles', { directory, files: some }),
    };
  });
  return [ls, ...lstats];
}

type State = 'cold' | 'warm';
const sampleName = ({ name }: Reading, state: State, view: View): string => `${name}, ${state}: ${view.name}`;

interface Run {
  readonly subject: Subject;
  readonly readings: readonly Reading[];
  readonly root: Root;
  readonly random: () => number;
  readonly samples: Samples;
}

/** With a new mount each time, and nothing of any file system left in memory. */
async function readCold({ subject, readings, root, random, samples }: Run): Promise<void> {
  const { pair, others, cold } = subject;
  for (let round = 0; round < cold; round++) {
    const views = round < OTHERS_COLD ? [...pair, ...others] : pair;
    for (const reading of readings) {
      for (const view of shuffle(views, random)) {
        await root.ask('dropCaches', undefined);
        await view.mount();
        samples.add(sampleName(reading, 'cold', view), [(await reading.read(view)) / 1000]);
        await view.unmount();
      }
    }
  }
}

async function readWarm({ subject, readings, random, samples }: Run): Promise<void> {
  const { pair, others, warm } = subject;
  const all = [...pair, ...others];
  for (const view of all) await view.mount();
  for (const reading of readings) {
    for (const view of all) await reading.read(view);
    for (let round = 0; round < warm; round++) {
      for (const view of shuffle(round < OTHERS_WARM ? all : pair, random)) {
        const times: number[] = [];
        for (let i = 0; i < reading.repeats; i++) times.push((await reading.read(view)) / 1000);
        samples.add(sampleName(reading, 'warm', view), [median(times)]);
      }
    }
  }
  for (const view of all) await view.unmount();
}

async function prepare(subject: Subject): Promise<Reading[]> {
  const [first] = subject.pair;
  await first.mount();
  const files = await first.reader.ask('listFiles', first.directory);
  await first.unmount();
  return readingsOf(shuffle(files, randomFrom(files.length)));
}

function summarise({ subject, readings, samples }: Run): Pick<Section, 'figures' | 'ratios'> {
  const [handed, direct] = subject.pair;
  const cases = readings.flatMap((reading) => (['cold', 'warm'] as const).map((state) => ({ reading, state })));
  const compare = (reading: Reading, state: State, other: View): Ratio => {
    const mine = sampleName(reading, state, handed);
    const theirs = sampleName(reading, state, other);
    const name = `${mine} / ${other.name}`;
    if (other === direct) return ratio(name, samples.rounds(mine), samples.rounds(theirs), GOAL);
    return ratio(name, [samples.all(mine)], [samples.all(theirs)]);
  };
  const views = [handed, direct, ...subject.others];
  return {
    figures: cases.flatMap(({ reading, state }) =>
      views.map((view) => sampleName(reading, state, view)).map((name) => figure(name, 'ms', samples.all(name))),
    ),
    ratios: cases.flatMap(({ reading, state }) => views.slice(1).map((other) => compare(reading, state, other))),
  };
}

export async function measureTree(scratch: string, random: () => number): Promise<Section> {
  const repository = makeRepository(scratch);
  const sample = addSample(repository);
  const tree = join(scratch, 'tree');
  const entries = makeTree(tree);
  run('mkfs.erofs', '--quiet', join(scratch, 'tree.erofs'), tree);
  const large = repository.add('tree', 'erofs', join(scratch, 'tree.erofs'));
  const daemon = await startDaemon(scratch, repository);
  const root = await startAgent<TreeOperations>(AS_ROOT, 'tree-agent.js');
  const caller: Caller = await startAgent<CallerOperations>(asUser(someUsers(1)[0]!), 'caller-agent.js');
  const pairOf = (image: Image): readonly [View, View] => [
    handedOut(scratch, caller, image),
    mountedByRoot(scratch, root, repository.objects, image),
  ];
  const results: Pick<Section, 'figures' | 'ratios'>[] = [];
  try {
    await caller.ask('open', { address: daemon.address });
    const { views, notes } = fuseViews(scratch, root, tree);
    const subjects: Subject[] = [
      { pair: pairOf(large), others: views, cold: 7, warm: 21 },
      ...(sample ? [{ pair: pairOf(sample), others: [], cold: 15, warm: 40 }] : []),
    ];
    for (const subject of subjects) {
      const measured: Run = { subject, readings: await prepare(subject), root, random, samples: collectSamples() };
      await readCold(measured);
      await readWarm(measured);
      results.push(summarise(measured));
    }
    return {
      id: 'd',
      title: `reading a tree: plain EROFS of ${entries} entries${sample ? ', composefs sample' : ''}`,
      figures: results.flatMap(({ figures }) => figures),
      ratios: results.flatMap(({ ratios }) => ratios),
      notes: [...notes, ...(sample ? [] : [WITHOUT_SAMPLE])],
    };
  } finally {
    await caller.stop();
    await root.stop();
    await daemon.stop();
  }
}
