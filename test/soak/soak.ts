// Many thousand mounts by clients that die in the middle of it: what the daemon holds afterwards is what it held before.
//   node build/test/soak/soak.js [--cycles N]
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { build } from 'esbuild';

import { connect, type MountClient } from '../../client/mount-client.js';
import { umount2 } from '../../core/kernel/mount.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, makeErofs, makeSampleRepository, policyText } from '../support/images.js';
import { requirePrivileges, run, withoutSample } from '../support/machine.js';
import { connectAuthenticated, type RawConnection } from '../support/raw-connection.js';
import { makeScratch } from '../support/scratch.js';
import { type Census, takeCensus } from './census.js';
import type { ClientTask, Step } from './steps.js';

const CYCLES = 20_000;
/** Five users; three of them have two clients, each in a user namespace of its own. */
const UIDS = [4711, 4711, 4712, 4712, 4713, 4713, 4714, 4715];
/** A life is so many whole cycles and then, for one client in `FATAL`, one that it does not survive. */
const ROUNDS = 9;
const IDLE_CONNECTIONS = 200;
/** Longest delay of the blow after the last cycle began, in milliseconds: about what a cycle takes. */
const MAX_DELAY = 14;
/** Namespace pairs are kept for 60 s and looked at every 15 s; spare threads go one every 10 s after 30 s. */
const SETTLE_MS = 180_000;
/**
 * RSS is compared under load, when all threads run: after a warm-up, the median of the first quarter against that of the last. The
 * heaps of nine isolates breathe by some megabytes each; a leak of 1 KiB in each of 20,000 cycles would make 15 MiB between the two.
 */
const WARM_UP_CYCLES = 400;
const RSS_TOLERANCE_KIB = 12 * 1024;
/** How the leak that is one of memory begins. */
export const RSS_GREW = 'RSS under load';
const HERE = dirname(fileURLToPath(import.meta.url));
/** The client in one file: it is started thousands of times, and to load a hundred modules takes longer than its work. */
const CLIENT = join(HERE, 'client.bundle.cjs');

interface Tally {
  cycles: number;
  killed: number;
  busy: number;
  /** Last step of those who were killed. */
  readonly at: Record<string, number>;
  /** Twice a second, after the warm-up. In KiB. */
  readonly rss: number[];
  readonly failures: string[];
}

export interface SoakReport {
  readonly tally: Tally;
  readonly seconds: number;
  readonly baseline: Census;
  readonly peak: Census;
  readonly after: Census;
  readonly liveMounts: number;
  /** What did not return; empty if all is well. */
  readonly leaks: string[];
}

/** One client from its start to its end. */
async function live(uid: number, task: ClientTask, tally: Tally): Promise<void> {
  const identity = [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--', 'unshare', '-U', '-r', '-m'];
  const words = [...identity, process.execPath, CLIENT, JSON.stringify(task)];
  const child = spawn('setpriv', words, { stdio: ['ignore', 'pipe', 'pipe'], cwd: '/' });
  let last: Step | undefined;
  let killed = false;
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  child.stdout.setEncoding('latin1').on('data', (steps: string) => {
    for (const step of steps as Iterable<Step>) {
      if (step === 'u') tally.cycles++;
      if (step === 'e') tally.busy++;
      if (step !== 'k' && step !== 'e') last = step;
      if (step === 'k') setTimeout(() => (killed = child.kill('SIGKILL')), Math.random() * MAX_DELAY);
    }
  });
  await once(child, 'close');
  if (killed) {
    tally.killed++;
    tally.at[last!] = (tally.at[last!] ?? 0) + 1;
    if (last !== 'u') tally.cycles++; // begun, and ended by the blow
  } else if (child.exitCode !== 0) tally.failures.push(`uid ${uid}: ${child.exitCode ?? child.signalCode} ${stderr}`);
}

function removeMountPoints(): void {
  for (const name of readdirSync('/tmp').filter((entry) => entry.startsWith('cfsmountd-mnt-'))) {
    try {
      rmdirSync(join('/tmp', name));
    } catch {
      // another test's, in use or gone
    }
  }
}

async function work(goal: number, task: Omit<ClientTask, 'seed' | 'rounds' | 'fatal'>, tally: Tally): Promise<void> {
  let seed = 0;
  const user = async (uid: number): Promise<void> => {
    while (tally.cycles < goal && tally.failures.length === 0) {
      await live(uid, { ...task, rounds: ROUNDS, fatal: true, seed: seed++ }, tally);
    }
  };
  await Promise.all(UIDS.map(user));
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;
const highest = (a: Census, b: Census): Census =>
  Object.fromEntries(Object.keys(a).map((key) => [key, Math.max(a[key as keyof Census], b[key as keyof Census])])) as never;

/** Everything but memory has to be exactly what it was. */
function findLeaks(baseline: Census, after: Census): string[] {
  const counted = Object.keys(baseline).filter((key) => key !== 'rss') as (keyof Census)[];
  return counted.filter((key) => after[key] > baseline[key]).map((key) => `${key}: ${baseline[key]} before, ${after[key]} after`);
}

function findGrowth(rss: readonly number[]): string[] {
  const quarter = Math.ceil(rss.length / 4);
  const early = median(rss.slice(0, quarter));
  const late = median(rss.slice(-quarter));
  return late - early > RSS_TOLERANCE_KIB ? [`${RSS_GREW}: ${early} KiB in the first quarter, ${late} in the last`] : [];
}

function asRoot<T>(daemon: Daemon, ask: (root: MountClient) => T): T {
  using root = connect({ address: daemon.address });
  return ask(root);
}

/** The service lets idle peers go after five minutes: they come back. */
function refresh(idle: RawConnection[], path: string): void {
  for (const [i, connection] of idle.entries()) {
    if (connection.receive(0) !== null) continue;
    connection.close();
    idle[i] = connectAuthenticated(path);
  }
}

async function soakDaemon(daemon: Daemon, cycles: number, task: Omit<ClientTask, 'seed' | 'rounds' | 'fatal'>, mark: string) {
  const census = (): Census => takeCensus(daemon.pid, mark);
  const tally: Tally = { cycles: 0, killed: 0, busy: 0, at: {}, rss: [], failures: [] };
  // Hashed once, root's images are remembered by an open descriptor each, for as long as the daemon lives.
  for (const image of [task.composefs, task.erofs]) asRoot(daemon, (root) => root.checkImage(image));
  await sleep(500); // for the daemon to see that the connection is closed
  const baseline = census();
  const idle: RawConnection[] = Array.from({ length: IDLE_CONNECTIONS }, () => connectAuthenticated(daemon.socket));
  let peak = baseline;
  const started = Date.now();
  const sampler = setInterval(() => {
    const now = census();
    peak = highest(peak, now);
    if (tally.cycles >= WARM_UP_CYCLES) tally.rss.push(now.rss);
    refresh(idle, daemon.socket);
  }, 500);
  await work(cycles, task, tally);
  clearInterval(sampler);
  const seconds = (Date.now() - started) / 1000;
  for (const connection of idle) connection.close();
  let after = census();
  for (const end = Date.now() + SETTLE_MS; findLeaks(baseline, after).length > 0 && Date.now() < end; after = census())
    await sleep(1000);
  return { tally, seconds, baseline, peak, after, liveMounts: asRoot(daemon, (root) => root.listMounts().length) };
}

async function bundleClient(): Promise<void> {
  const entryPoints = [join(HERE, 'client.js')];
  await build({
    entryPoints,
    outfile: CLIENT,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    external: ['koffi'],
    logLevel: 'warning',
  });
}

/** Runs the soak and says what it found. */
export async function soak(cycles: number): Promise<SoakReport> {
  requirePrivileges();
  await bundleClient();
  const scratch = makeScratch();
  const state = join(scratch.path, 'state');
  const repository = join(scratch.path, 'repository');
  const plain = join(scratch.path, 'plain.erofs');
  const own = join(scratch.path, 'own.erofs');
  const probe = 'etc/os-release'; // the sample has one
  // On a tmpfs EROFS cannot read the copies by itself: the daemon goes through loop devices, which can leak as well.
  mkdirSync(state);
  run('mount', '-t', 'tmpfs', 'tmpfs', state);
  let daemon: Daemon | undefined;
  try {
    const erofs = makeErofs(plain, { [probe]: 'hello\n', 'usr/large': 'x'.repeat(100_000) });
    addToRepository(repository, plain, 'plain');
    copyFileSync(plain, own);
    chmodSync(own, 0o644);
    const composefs = withoutSample() ? erofs : makeSampleRepository(repository);
    const policy = policyText({ digests: [erofs, composefs], repositories: { [repository]: 'trusted' } });
    daemon = await startDaemon({ policy, directory: scratch.path });
    const task = { address: daemon.address, composefs, erofs, file: own, probe };
    const outcome = await soakDaemon(daemon, cycles, task, state);
    const leaks = [
      ...findLeaks(outcome.baseline, outcome.after),
      ...findGrowth(outcome.tally.rss),
      ...(outcome.liveMounts > 0 ? [`${outcome.liveMounts} mounts still count as live`] : []),
      ...outcome.tally.failures,
    ];
    await daemon.stop();
    return { ...outcome, leaks };
  } finally {
    await daemon?.kill();
    umount2(state, 2);
    removeMountPoints();
    scratch.remove();
  }
}

function print({ tally, seconds, baseline, peak, after, liveMounts, leaks }: SoakReport): void {
  const rate = (tally.cycles / seconds).toFixed(0);
  console.log(`${tally.cycles} cycles in ${seconds.toFixed(0)} s (${rate}/s), ${tally.killed} clients killed, last step:`);
  console.log(
    `  ${Object.entries(tally.at)
      .map(([step, count]) => `${step} ${count}`)
      .join('  ')}   busy at umount: ${tally.busy}`,
  );
  console.log(`${''.padEnd(18)}${'baseline'.padStart(10)}${'peak'.padStart(10)}${'after'.padStart(10)}`);
  for (const key of Object.keys(baseline) as (keyof Census)[]) {
    const row = [baseline, peak, after].map((census) => String(census[key]).padStart(10));
    console.log(key.padEnd(18) + row.join(''));
  }
  const { rss } = tally;
  const quarters = [0, 1, 2, 3].map((i) => median(rss.slice((i * rss.length) >> 2, ((i + 1) * rss.length) >> 2)));
  console.log(`RSS under load by quarter, KiB: ${quarters.join(' ')}`);
  console.log(`live mounts: ${liveMounts}`);
  console.log(leaks.length === 0 ? 'all is back' : `NOT BACK:\n  ${leaks.join('\n  ')}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { cycles: { type: 'string', default: String(CYCLES) } } });
  const report = await soak(Number(values.cycles));
  print(report);
  process.exitCode = report.leaks.length === 0 ? 0 : 1;
}
