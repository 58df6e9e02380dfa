// The floor: the daemon's own steps one after the other in one thread, with nobody to talk to.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';

import type { OwnedFd } from '../core/kernel/fd.js';
import { O_DIRECTORY, O_PATH, O_RDONLY, openPath } from '../core/kernel/file.js';
import { MOUNT_ATTR_NOSUID, openTreeClone } from '../core/kernel/mount.js';
import { CLONE_NEWNS, setns } from '../core/kernel/namespace.js';
import { ALWAYS, type BuiltMount, buildMount, idmap, mountErofs, type MountPlan } from '../daemon/build-mount.js';
import { readImageHeader } from '../daemon/measure.js';
import {
  clearStage,
  crossOver,
  type HeldNamespace,
  holdParked,
  leaveHostMounts,
  newStage,
  type Stage,
} from '../daemon/worker/stage.js';
import { serveAgent } from './agent.js';

export interface FloorImage {
  readonly file: string;
  readonly objects: string;
  readonly digest: string;
}

interface Prepared {
  readonly plan: MountPlan;
  readonly kept: OwnedFd;
}

let host: OwnedFd;
let stage: Stage;
let userns: OwnedFd;
const prepared = new Map<string, Prepared>();

async function park(helper: string, staging: OwnedFd): Promise<HeldNamespace> {
  const child = spawn(helper, [], { stdio: ['pipe', 'pipe', 'ignore', staging.raw, userns.raw], env: {} });
  await once(child.stdout!, 'data');
  const parked = holdParked(child.pid!);
  child.kill('SIGKILL');
  await once(child, 'exit');
  return parked;
}

/** Makes the pair of namespaces, once. */
async function makeStage({ helper, usernsOf }: { helper: string; usernsOf: number }): Promise<void> {
  await stat('/'); // the pool's threads must not share this thread's file system context
  host = openPath('/proc/self/ns/mnt', O_RDONLY);
  userns = openPath(`/proc/${usernsOf}/ns/user`, O_RDONLY);
  leaveHostMounts();
  const staging = newStage();
  setns(host, CLONE_NEWNS);
  const parked = await park(helper, staging.namespace);
  stage = {
    staging: staging.namespace,
    stagingDirectory: staging.directory,
    parked: parked.namespace,
    parkedDirectory: parked.directory,
  };
}

function prepare({ file, objects, digest }: FloorImage): void {
  const image = openPath(file, O_RDONLY);
  const header = readImageHeader(image);
  const stores = header.type === 'composefs' ? [openPath(objects, O_PATH | O_DIRECTORY)] : [];
  const rest = { name: digest, requireVerity: false, nosuid: false, noexec: false };
  const plan: MountPlan = { image, header, userns, objects: stores, ...rest };
  prepared.set(digest, { plan, kept: mountErofs(image, header, ALWAYS | MOUNT_ATTR_NOSUID) });
}

function build({ plan, kept }: Prepared, useKept: boolean): BuiltMount {
  if (plan.header.type === 'composefs') return buildMount(useKept ? { ...plan, kept } : plan);
  if (!useKept) return buildMount(plan);
  const mount = openTreeClone(kept);
  idmap(mount, plan.userns);
  return { mount };
}

interface Run {
  readonly digest: string;
  readonly kept: boolean;
  readonly locked: boolean;
  readonly warmUp: number;
  readonly n: number;
}

/** Microseconds until the mount could be handed out, and until all that it needed is gone again. */
interface Times {
  readonly ready: number;
  readonly whole: number;
}

function mountUnlocked(image: Prepared, kept: boolean): Times {
  const started = process.hrtime.bigint();
  const { mount, spare } = build(image, kept);
  const ready = process.hrtime.bigint();
  mount.close();
  spare?.close();
  return { ready: Number(ready - started) / 1000, whole: Number(process.hrtime.bigint() - started) / 1000 };
}

function mountLocked(image: Prepared, kept: boolean): Times {
  const name = randomBytes(16).toString('hex');
  const started = process.hrtime.bigint();
  const { mount, spare } = build(image, kept);
  const locked = crossOver(mount, stage, name);
  const ready = process.hrtime.bigint();
  clearStage(stage, name);
  mount.close();
  spare?.close();
  locked.close();
  const ended = process.hrtime.bigint();
  setns(host, CLONE_NEWNS); // the daemon builds in another thread, which never leaves
  return { ready: Number(ready - started) / 1000, whole: Number(ended - started) / 1000 };
}

function mounts({ digest, kept, locked, warmUp, n }: Run): { ready: number[]; whole: number[] } {
  const image = prepared.get(digest)!;
  const times: Times[] = [];
  for (let i = 0; i < warmUp + n; i++) times.push(locked ? mountLocked(image, kept) : mountUnlocked(image, kept));
  const measured = times.slice(warmUp);
  return { ready: measured.map(({ ready }) => ready), whole: measured.map(({ whole }) => whole) };
}

const operations = { makeStage, prepare, mounts };
export type FloorOperations = typeof operations;

serveAgent(operations);
