// (e) The daemon itself: from its start to its first reply, and the memory it takes when nobody asks for anything.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { openConnection } from '../client/connection.js';
import { SyscallError } from '../core/kernel/error.js';
import type { OwnedFd } from '../core/kernel/fd.js';
import { connectStream } from '../core/kernel/socket.js';
import { OBJECT_PATH, PEER } from '../core/wire/names.js';
import { asUser, startAgent } from './agent.js';
import type { CallerOperations } from './caller-agent.js';
import { collectSamples, figure, type Figure, ratio, type Samples, type Section } from './results.js';
import {
  addSample,
  addSmallErofs,
  daemonCommand,
  end,
  someUsers,
  makeRepository,
  type Repository,
  startDaemon,
  tie,
  WITHOUT_SAMPLE,
} from './setting.js';
import { shuffle } from './statistics.js';

const ROUNDS = 5;
const PER_ROUND = 6;
const MOUNTS = 1000;
/** How long the service is left alone before its memory is read. Milliseconds. */
const SETTLE = 1000;

const NODE = 'node -e 0';
const START = 'daemon: start to the first reply (Ping)';

function tryConnect(path: string): OwnedFd | undefined {
  try {
    return connectStream(path);
  } catch (error) {
    if (error instanceof SyscallError) return undefined;
    throw error;
  }
}

const milliseconds = (since: bigint): number => Number(process.hrtime.bigint() - since) / 1e6;

async function startToReply(scratch: string, repository: Repository): Promise<number> {
  const { args, socket } = daemonCommand(scratch, repository);
  const started = process.hrtime.bigint();
  const child = tie(spawn(process.execPath, args, { stdio: 'ignore' }));
  try {
    return Number((await pingWhenUp(child, socket)) - started) / 1e6;
  } finally {
    await end(child);
  }
}

async function pingWhenUp(child: ChildProcess, path: string): Promise<bigint> {
  for (;;) {
    const socket = tryConnect(path);
    if (socket !== undefined) {
      const connection = openConnection(socket, { bus: false, timeoutMs: 10_000 });
      connection.call({ path: OBJECT_PATH, interface: PEER, member: 'Ping', answers: '' }).fds[Symbol.dispose]();
      const replied = process.hrtime.bigint();
      connection.close();
      return replied;
    }
    if (child.exitCode !== null) throw new Error(`the daemon ended with ${child.exitCode}`);
    await sleep(1);
  }
}

async function bareNode(): Promise<number> {
  const started = process.hrtime.bigint();
  await once(spawn(process.execPath, ['-e', '0'], { stdio: 'ignore' }), 'exit');
  return milliseconds(started);
}

async function measureStarts(scratch: string, repository: Repository, random: () => number, samples: Samples): Promise<void> {
  const runs: Record<string, () => Promise<number>> = { [NODE]: bareNode, [START]: () => startToReply(scratch, repository) };
  for (const run of Object.values(runs)) await run();
  for (let round = 0; round < ROUNDS; round++) {
    const order = shuffle(
      Object.keys(runs).flatMap((name) => Array.from({ length: PER_ROUND }, () => name)),
      random,
    );
    const times = new Map<string, number[]>(Object.keys(runs).map((name) => [name, []]));
    for (const name of order) times.get(name)!.push(await runs[name]!());
    for (const [name, values] of times) samples.add(name, values);
  }
}

/** Resident and proportional memory of a process, in MiB. */
function memoryOf(pid: number): { rss: number; pss: number } {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const read = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(rollup)?.[1]) / 1024;
  return { rss: read('Rss'), pss: read('Pss') };
}

async function memoryFigures(name: string, pid: number): Promise<Figure[]> {
  await sleep(SETTLE);
  const { rss, pss } = memoryOf(pid);
  return [figure(`${name}: RSS`, 'MiB', [rss]), figure(`${name}: PSS`, 'MiB', [pss])];
}

async function measureMemory(scratch: string, repository: Repository): Promise<Figure[]> {
  const bare = tie(spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)'], { stdio: 'ignore' }));
  const daemon = await startDaemon(scratch, repository);
  const caller = await startAgent<CallerOperations>(asUser(someUsers(1)[0]!), 'caller-agent.js');
  try {
    const before = [
      ...(await memoryFigures('idle node', bare.pid!)),
      ...(await memoryFigures('daemon, after start', daemon.pid)),
    ];
    await caller.ask('open', { address: daemon.address });
    await caller.ask('mounts', { image: repository.images[0]!.name, warmUp: 0, n: MOUNTS });
    return [...before, ...(await memoryFigures(`daemon, after ${MOUNTS} mounts`, daemon.pid))];
  } finally {
    await caller.stop();
    await daemon.stop();
    await end(bare);
  }
}

export async function measureDaemon(scratch: string, random: () => number): Promise<Section> {
  const repository = makeRepository(scratch);
  const sample = addSample(repository);
  if (!sample) addSmallErofs(repository, scratch);
  const samples = collectSamples();
  await measureStarts(scratch, repository, random, samples);
  const memory = await measureMemory(scratch, repository);
  return {
    id: 'e',
    title: 'the daemon: start and memory',
    figures: [...[NODE, START].map((name) => figure(name, 'ms', samples.all(name))), ...memory],
    ratios: [ratio(`${START} / ${NODE}`, samples.rounds(START), samples.rounds(NODE))],
    notes: sample ? [] : [WITHOUT_SAMPLE],
  };
}
