// (h) Container images: cfsctl oci import of one layer, plain and packed, against podman load of the same archive.
import { createHash } from 'node:crypto';
import { rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { makeUsr } from './make-usr.js';
import { collectSamples, figure, ratio, type Section } from './results.js';
import { DIST, run } from './setting.js';
import { shuffle } from './statistics.js';

const CFSCTL = join(DIST, 'cfsctl');
const FILES = 8000;
const ROUNDS = 3;
const GOAL = { atMost: 1 };

type Packing = 'plain' | 'gzip' | 'zstd';
const PACK: Readonly<Record<Packing, string>> = { plain: 'cat', gzip: 'gzip -6', zstd: 'zstd -3 -T2' };

/** A docker-archive of one layer: what podman save makes, but for the packing. Its bytes do not go through this process. */
function makeArchive(scratch: string, packing: Packing, diffId: string): string {
  const directory = join(scratch, packing);
  const rootfs = { type: 'layers', diff_ids: [`sha256:${diffId}`] };
  const config = JSON.stringify({ architecture: 'amd64', os: 'linux', config: {}, rootfs });
  const configName = `${createHash('sha256').update(config).digest('hex')}.json`;
  run('mkdir', directory);
  writeFileSync(join(directory, configName), config);
  const manifest = [{ Config: configName, RepoTags: ['localhost/bench:1'], Layers: [`${diffId}.tar`] }];
  writeFileSync(join(directory, 'manifest.json'), JSON.stringify(manifest));
  run('sh', '-c', `${PACK[packing]} <${join(scratch, 'layer.tar')} >${join(directory, `${diffId}.tar`)}`);
  const archive = `${directory}.tar`;
  run('tar', '-C', directory, '-cf', archive, configName, `${diffId}.tar`, 'manifest.json');
  rmSync(directory, { recursive: true });
  return archive;
}

function makeLayer(scratch: string): { diffId: string; bytes: number; files: number } {
  const { files } = makeUsr(join(scratch, 'tree'), FILES);
  const layer = join(scratch, 'layer.tar');
  run('tar', '-C', join(scratch, 'tree'), '--format=posix', '-cf', layer, '.');
  rmSync(join(scratch, 'tree'), { recursive: true });
  const [diffId = ''] = run('sha256sum', layer).split(' ');
  return { diffId, bytes: statSync(layer).size, files };
}

function seconds(work: () => void): number {
  const start = performance.now();
  work();
  return (performance.now() - start) / 1000;
}

export async function measureOci(scratch: string, random: () => number): Promise<Section> {
  const { diffId, bytes, files } = makeLayer(scratch);
  const packings = Object.keys(PACK) as Packing[];
  const archives = new Map(packings.map((packing) => [packing, makeArchive(scratch, packing, diffId)]));
  const repository = join(scratch, 'repository');
  const storage = join(scratch, 'storage');
  const importNew = (packing: Packing): number => {
    rmSync(repository, { recursive: true, force: true });
    return seconds(() => run(CFSCTL, 'oci', 'import', '--repo', repository, archives.get(packing)!, 'bench'));
  };
  const podman = ['--root', storage, '--runroot', join(scratch, 'run'), '--storage-driver', 'vfs'];
  const load = (packing: Packing): number => {
    const time = seconds(() => run('podman', ...podman, 'load', '--quiet', '--input', archives.get(packing)!));
    run('podman', ...podman, 'rmi', '--all', '--force');
    return time;
  };
  const cases: Record<string, () => number> = {
    'podman load, plain': () => load('plain'),
    'podman load, gzip': () => load('gzip'),
  };
  for (const packing of packings) cases[`oci import, ${packing}`] = () => importNew(packing);
  const samples = collectSamples();
  for (let round = 0; round < ROUNDS; round++) {
    for (const name of shuffle(Object.keys(cases), random)) samples.add(name, [cases[name]!()]);
    // The last import left its repository: all of it is there.
    importNew('plain');
    samples.add('oci import again, plain', [
      seconds(() => run(CFSCTL, 'oci', 'import', '--repo', repository, archives.get('plain')!, 'bench')),
    ]);
  }
  const names = [...Object.keys(cases), 'oci import again, plain'];
  return {
    id: 'h',
    title: 'container images',
    figures: names.map((name) =>
      figure(
        name,
        'MB/s',
        samples.all(name).map((time) => bytes / 1e6 / time),
      ),
    ),
    ratios: (['plain', 'gzip'] as const).map((packing) =>
      ratio(
        `time of oci import / podman load, ${packing}`,
        samples.rounds(`oci import, ${packing}`),
        samples.rounds(`podman load, ${packing}`),
        GOAL,
      ),
    ),
    notes: [
      `one layer of ${files} files, ${Math.round(bytes / 2 ** 20)} MiB unpacked, from /usr; MB/s of unpacked bytes, on the disk when the command ends`,
      'podman load as root with the storage driver vfs, which unpacks as overlay does and needs no mount of its own',
    ],
  };
}
