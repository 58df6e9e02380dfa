// A user in a user namespace of its own, as the service sees it.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';

import { attach, connect, type MountClient } from '../client/index.js';
import { umount2 } from '../core/kernel/mount.js';
import { microsecondsOf, serveAgent } from './agent.js';
import { listFiles, lstatFiles, timeLs } from './tree-operations.js';

let client: MountClient | undefined;

function open({ address }: { address: string }): void {
  client?.close();
  client = connect({ address });
}

interface Mounts {
  readonly image: string;
  readonly warmUp: number;
  readonly n: number;
  /** For several callers at once: the millisecond of the monotonic clock to start at, and how many until the end, however few were made. */
  readonly at?: number;
  readonly forMs?: number;
}

const now = (): number => Number(process.hrtime.bigint()) / 1e6;

function mountAndClose(image: string): void {
  client!.mountImage(image).mount.close();
}

/** Mounts and closes again and again; when it began and ended, for the rate of several callers. Times in microseconds, moments in milliseconds. */
function mounts({ image, warmUp, n, at, forMs = Infinity }: Mounts): { samples: number[]; began: number; ended: number } {
  for (let i = 0; i < warmUp; i++) mountAndClose(image);
  while (at !== undefined && now() < at);
  const began = now();
  const samples: number[] = [];
  while (samples.length < n && now() - began < forMs) samples.push(microsecondsOf(() => mountAndClose(image)));
  return { samples, began, ended: now() };
}

/** Microseconds of each whole process. `MOUNTPOINT` in a command becomes a new directory, which is a mount afterwards. */
function processes(commands: readonly (readonly string[])[]): number[] {
  return commands.map((command) => {
    const directory = command.includes('MOUNTPOINT') ? mkdtempSync(join('/tmp', 'cfsmountd-bench-')) : undefined;
    const [program, ...args] = command.map((word) => (word === 'MOUNTPOINT' ? directory! : word));
    let status: number | null = null;
    let errors = '';
    const us = microsecondsOf(() => {
      const ended = spawnSync(program!, args, { stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' });
      ({ status, stderr: errors } = ended);
    });
    if (status !== 0) throw new Error(`${command.join(' ')} exited with ${status}: ${errors}`);
    if (directory !== undefined) {
      umount2(directory, 0);
      rmdirSync(directory);
    }
    return us;
  });
}

function attachImage({ image, directory }: { image: string; directory: string }): void {
  using mount = client!.mountImage(image).mount;
  attach(mount, directory);
}

function detach(directory: string): void {
  umount2(directory, 0);
}

const operations = { open, mounts, processes, attachImage, detach, timeLs, lstatFiles, listFiles };
export type CallerOperations = typeof operations;

serveAgent(operations);
