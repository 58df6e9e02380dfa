// podman itself, as it says it is configured.
import { accessSync, constants } from 'node:fs';
import { basename } from 'node:path';
import * as z from 'zod';
import { type Finding, fail, failureOf, ok, warn } from './finding.js';
import { askPodman, findProgram } from '../ask-podman.js';
import { wasUsed } from '../setup/places.js';

/** `podman info`, as far as it is looked at. */
const info = z.object({
  version: z.object({ Version: z.string() }),
  store: z.object({
    graphDriverName: z.string(),
    graphOptions: z.record(z.string(), z.unknown()).nullish(),
    configFile: z.string().optional(),
  }),
});
export type PodmanInfo = z.infer<typeof info>;

export interface CheckedPodman {
  readonly findings: readonly Finding[];
  /** Undefined where podman does not work. */
  readonly info: PodmanInfo | undefined;
}

export function checkPodman(): CheckedPodman {
  const problem = findProblem();
  if (problem !== undefined) return { findings: [problem], info: undefined };
  const asked = askPodman('info', '--format', 'json');
  if ('because' in asked) return failed(asked.because, 'podman info, and mend what it says');
  const read = info.safeParse(parseJson(asked.stdout));
  if (!read.success) return failed('podman info says something else than is known', 'podman 4.3 or newer is needed');
  return { findings: [judgeVersion(read.data), judgeDriver(read.data), ...judgeMountProgram(read.data)], info: read.data };
}

const failed = (says: string, mend: string): CheckedPodman => ({ findings: [fail('podman', says, mend)], info: undefined });

/** Why podman cannot be asked, or must not. */
function findProblem(): Finding | undefined {
  if (findProgram('podman') === undefined) return fail('podman', 'is not installed', 'sudo apt install podman uidmap');
  try {
    return wasUsed() ? undefined : warn('podman', 'was never used by you', 'cfsctl setup podman --write, before you use it');
  } catch (error) {
    return failureOf('podman', error);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export function judgeVersion({ version: { Version: version } }: Pick<PodmanInfo, 'version'>): Finding {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major > 4 || (major === 4 && minor >= 3)) return ok('podman', `version ${version}`);
  return warn('podman', `version ${version} was never tried`, 'use podman 4.3 or newer');
}

export function judgeDriver({ store }: Pick<PodmanInfo, 'store'>): Finding {
  if (store.graphDriverName === 'overlay') return ok('storage driver', 'overlay');
  return fail(
    'storage driver',
    `${store.graphDriverName}, and images of the store need overlay`,
    'podman system reset (removes your images and containers), then driver = "overlay" in storage.conf',
  );
}

/** Path of cfs-overlay, if podman mounts with it. */
export function usesCfsOverlay({ store }: Pick<PodmanInfo, 'store'>): boolean {
  const program = mountProgramOf(store);
  return program !== undefined && basename(program) === 'cfs-overlay';
}

function mountProgramOf({ graphOptions }: PodmanInfo['store']): string | undefined {
  const option = graphOptions?.['overlay.mount_program'] as { readonly Executable?: unknown } | undefined;
  return typeof option?.Executable === 'string' ? option.Executable : undefined;
}

function judgeMountProgram({ store }: PodmanInfo): Finding[] {
  const program = mountProgramOf(store);
  if (program === undefined) return [];
  const fuse = judgeFuse();
  if (findProgram('fuse-overlayfs') === undefined)
    return [fail('mount program', `${program} needs fuse-overlayfs`, 'sudo apt install fuse-overlayfs'), ...fuse];
  return [ok('mount program', program), ...fuse];
}

function judgeFuse(): Finding[] {
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
    return [ok('/dev/fuse', 'may be opened')];
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return [
      fail(
        '/dev/fuse',
        `may not be opened (${code})`,
        code === 'ENOENT' ? 'sudo modprobe fuse' : 'sudo chmod 666 /dev/fuse (udev does that where it runs)',
      ),
    ];
  }
}
