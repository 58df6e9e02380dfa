// Times podman for the benchmark, which runs this as a program: prints one JSON object.
import { copyFileSync, cpSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { makeUsr } from '../../bench/make-usr.js';
import { makeDockerArchive } from './docker-archive.js';
import { run } from './machine.js';
import { type PodmanKit, makeRootTree, openPodmanKit, storeLines } from './podman-kit.js';
import type { RoomUser } from './podman.js';

const FILES = 2000;
const WARM_ROUNDS = 12;
const COLD_ROUNDS = 4;
const SIMILAR = 10;
const FUSE = '[storage.options.overlay]\nmount_program = "/usr/bin/fuse-overlayfs"\n';

interface Way {
  readonly name: string;
  readonly user: RoomUser;
  /** What a user has to do once in a new namespace. */
  readonly prepare: readonly string[] | undefined;
}

function makeWays(kit: PodmanKit, archive: string): Way[] {
  const [attached, overlay, own, fuse] = kit.room.users as [RoomUser, RoomUser, RoomUser, RoomUser];
  kit.room.configureStorage(attached, storeLines(kit.store));
  kit.room.configureStorage(overlay, storeLines(kit.store, true));
  kit.room.configureStorage(fuse, FUSE);
  for (const user of [own, fuse]) kit.room.output(user, ['podman', 'load', '-q', '-i', archive]);
  const attach = ['podman', 'unshare', 'cfsctl', 'attach', '--store', kit.store, 'made'];
  return [
    { name: 'our store, attached', user: attached, prepare: attach },
    { name: 'our store, cfs-overlay', user: overlay, prepare: undefined },
    { name: "podman's own storage, overlay", user: own, prepare: undefined },
    { name: "podman's own storage, fuse-overlayfs", user: fuse, prepare: undefined },
  ];
}

/** Milliseconds. */
function time(work: () => void): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}

/** Cold: a new namespace, and nothing in the page cache; what has to be prepared counts. */
function timeRuns(kit: PodmanKit, ways: readonly Way[]): Record<string, number[]> {
  const samples: Record<string, number[]> = {};
  const once = (user: RoomUser): string => kit.room.output(user, ['podman', 'run', '--rm', 'made', 'true']);
  for (let round = 0; round < COLD_ROUNDS; round += 1)
    for (const { name, user, prepare } of ways) {
      kit.room.output(user, ['podman', 'system', 'migrate']);
      writeFileSync('/proc/sys/vm/drop_caches', '3');
      const took = time(() => {
        if (prepare !== undefined) kit.room.output(user, prepare);
        once(user);
      });
      (samples[`${name}, cold`] ??= []).push(took);
    }
  for (let round = 0; round < WARM_ROUNDS; round += 1)
    for (const { name, user } of ways) (samples[`${name}, warm`] ??= []).push(time(() => once(user)));
  return samples;
}

function diskOf(...paths: string[]): number {
  return run('du', '-scB1', ...paths)
    .split('\n')
    .filter((line) => line.endsWith('\ttotal'))
    .reduce((sum, line) => sum + Number(line.split('\t')[0]), 0);
}

/** Images of one layer each that differ in one file, as those of a base that is built anew. */
function measureDisk(kit: PodmanKit, tree: string, own: RoomUser): Record<string, number> {
  const storage = join(own.home, '.local/share/containers/storage');
  const before = { ours: diskOf(kit.repository, kit.store), theirs: diskOf(storage) };
  for (let index = 0; index < SIMILAR; index += 1) {
    const copy = join(kit.room.path, 'similar');
    run('rm', '-rf', copy);
    cpSync(tree, copy, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
    writeFileSync(join(copy, 'etc/version'), String(index).repeat(1000));
    kit.add(`similar-${index}`, copy);
    const archive = join(own.home, 'similar.tar');
    makeDockerArchive(join(kit.room.path, 'similar.tar'), [copy]);
    copyFileSync(join(kit.room.path, 'similar.tar'), archive);
    kit.room.output(own, ['podman', 'load', '-q', '-i', archive]);
    kit.room.output(own, ['podman', 'tag', 'made', `similar-${index}`]);
  }
  kit.export();
  return { ours: diskOf(kit.repository, kit.store) - before.ours, theirs: diskOf(storage) - before.theirs };
}

async function main(): Promise<void> {
  const kit = await openPodmanKit(4);
  try {
    const tree = makeRootTree(join(kit.room.path, 'tree'), 20_000_000);
    mkdirSync(join(tree, 'usr'));
    const { files, bytes } = makeUsr(join(tree, 'usr'), FILES);
    const archive = join(kit.room.path, 'image.tar');
    makeDockerArchive(archive, [tree]);
    await kit.trust([kit.add('made', tree)]);
    const exporting = time(() => kit.export());
    const again = time(() => kit.export());
    const ways = makeWays(kit, archive);
    const samples = timeRuns(kit, ways);
    const disk = measureDisk(kit, tree, ways[2]!.user);
    const archiveBytes = statSync(archive).size;
    process.stdout.write(JSON.stringify({ files, bytes, archiveBytes, exporting, again, samples, disk, similar: SIMILAR }));
  } finally {
    await kit.close();
  }
}

await main();
