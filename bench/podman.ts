// (h) podman run with our store, and with podman's own storage.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

import { figure, ratio, type Section } from './results.js';
import { ROOT } from './setting.js';

/** What test/support/time-podman.ts prints: milliseconds and bytes. */
interface Timed {
  readonly files: number;
  readonly bytes: number;
  readonly archiveBytes: number;
  readonly exporting: number;
  readonly again: number;
  readonly samples: Readonly<Record<string, readonly number[]>>;
  readonly disk: { readonly ours: number; readonly theirs: number };
  readonly similar: number;
}

const MIB = 2 ** 20;
const OWN = "podman's own storage, overlay";

function timePodman(): Timed {
  const words = [join(ROOT, 'build/test/support/time-podman.js')];
  const { status, stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8', maxBuffer: 2 ** 26 });
  if (status !== 0) throw new Error(`time-podman exited with ${status}\n${stderr}`);
  return JSON.parse(stdout) as Timed;
}

export async function measurePodman(): Promise<Section> {
  const { files, bytes, archiveBytes, exporting, again, samples, disk, similar } = timePodman();
  const names = Object.keys(samples);
  const rounds = (name: string): number[][] => (samples[name] ?? []).map((each) => [each]);
  return {
    id: 'i',
    title: 'podman run --rm IMAGE true, rootless',
    figures: [
      ...names.map((name) => figure(name, 'ms', samples[name] ?? [])),
      figure('cfsctl podman export-store, one new image', 'ms', [exporting]),
      figure('the same: MiB of its archive in a second', 'MiB/s', [archiveBytes / MIB / (exporting / 1000)]),
      figure('cfsctl podman export-store, nothing new', 'ms', [again]),
      figure(`disk for ${similar} images that differ in one file: repository and store`, 'MiB', [disk.ours / MIB]),
      figure(`disk for ${similar} images that differ in one file: podman's own storage`, 'MiB', [disk.theirs / MIB]),
    ],
    ratios: ['cold', 'warm'].flatMap((state) =>
      names
        .filter((name) => name.endsWith(state) && !name.startsWith(OWN))
        .map((name) => ratio(`${name} / ${OWN}`, rounds(name), rounds(`${OWN}, ${state}`))),
    ),
    notes: [
      `the image: ${files} files of up to 4 MiB from /usr and one of 20 MB, ${Math.round(bytes / MIB) + 19} MiB, one layer`,
      'cold: after podman system migrate, nothing in the page cache; with cfsctl attach where it is needed',
    ],
  };
}
