// (f) Making images: a tree against sha256sum on the same files, dumps of two sizes, and the digest against the bare hash.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

import { writeDump } from './dump.js';
import { measureDigest } from './digest.js';
import { makeUsr } from './make-usr.js';
import { collectSamples, figure, type Figure, type Ratio, type Part, ratio, type Section } from './results.js';
import { DIST, run } from './setting.js';
import { shuffle } from './statistics.js';

const CFSCTL = join(DIST, 'cfsctl');
const FILES = 50_000;
const ROUNDS = 7;
const DUMPS = [100_000, 400_000];
const DUMP_ROUNDS = 5;

const GOAL = { atMost: 1.3 };

function seconds(command: string, ...words: string[]): number {
  const start = performance.now();
  run(command, ...words);
  return (performance.now() - start) / 1000;
}

/** cfsctl mkfs of a tree, against hashing the same files with coreutils on two processors: what it is about is reading and hashing. */
function measureTree(scratch: string, random: () => number): Part {
  const tree = join(scratch, 'tree');
  const { files, bytes } = makeUsr(tree, FILES);
  const MKFS = `cfsctl mkfs of ${files} files`;
  const SUMS = 'find -type f -print0 | xargs -0 -P2 sha256sum';
  const cases: Record<string, () => number> = {
    [MKFS]: () => seconds(CFSCTL, 'mkfs', tree, join(scratch, 'tree.cfs')),
    [SUMS]: () => seconds('sh', '-c', `find ${tree} -type f -print0 | xargs -0 -P2 sha256sum > ${join(scratch, 'sums')}`),
  };
  const samples = collectSamples();
  for (const once of Object.values(cases)) once();
  for (let round = 0; round < ROUNDS; round++) {
    for (const name of shuffle(Object.keys(cases), random)) samples.add(name, [cases[name]!()]);
  }
  const linked = spawnSync('sh', ['-c', 'ldd "$(command -v sha256sum)"'], { encoding: 'utf8' }).stdout.includes('libcrypto');
  return {
    figures: Object.keys(cases).map((name) => figure(`${name}, warm`, 's', samples.all(name))),
    ratios: [ratio(`${MKFS} / ${SUMS}`, samples.rounds(MKFS), samples.rounds(SUMS), GOAL)],
    notes: [
      `the tree: ${files} files of up to 4 MiB, ${Math.round(bytes / 2 ** 20)} MiB, from /usr; ${availableParallelism()} processors`,
      `sha256sum here hashes ${linked ? 'with libcrypto' : 'with code of its own, which is slower than libcrypto on processors with SHA instructions'}`,
    ],
  };
}

const HOOK = `process.on('exit', () => require('node:fs').writeSync(2, 'rss ' + process.resourceUsage().maxRSS + '\\n'));\n`;

/** cfsctl mkfs --from-file: entries a second and the most memory, at two sizes. */
function measureDumps(scratch: string): Part {
  const hook = join(scratch, 'rss.cjs');
  writeFileSync(hook, HOOK);
  const figures: Figure[] = [];
  const samples = collectSamples();
  const rates = DUMPS.map((entries) => ({ entries, name: `dump → image, ${entries} entries` }));
  for (const { entries } of rates) writeDump(join(scratch, `${entries}.dump`), entries);
  for (let round = 0; round < DUMP_ROUNDS; round++) {
    for (const { entries, name } of rates) {
      const words = ['-r', hook, CFSCTL, 'mkfs', '--from-file', join(scratch, `${entries}.dump`), join(scratch, 'dump.cfs')];
      const start = performance.now();
      const { status, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
      const time = (performance.now() - start) / 1000;
      const rss = Number(/^rss (\d+)$/m.exec(stderr)?.[1]);
      if (status !== 0 || !(rss > 0)) throw new Error(`mkfs --from-file exited with ${status}: ${stderr}`);
      samples.add(`${name}, per entry`, [(time / entries) * 1e6]);
      samples.add(`${name}, rate`, [entries / time]);
      samples.add(`${name}, memory`, [rss / 1024]);
    }
  }
  for (const { name } of rates) {
    figures.push(
      figure(name, '/s', samples.all(`${name}, rate`)),
      figure(`${name}: peak RSS`, 'MiB', samples.all(`${name}, memory`)),
    );
  }
  const [small, large] = rates.map(({ name }) => samples.rounds(`${name}, per entry`));
  const ratios: Ratio[] = [ratio(`time for an entry, ${DUMPS[1]} / ${DUMPS[0]} entries`, large!, small!)];
  return { figures, ratios, notes: [] };
}

export async function measureMkfs(scratch: string, random: () => number): Promise<Section> {
  const parts = [measureTree(scratch, random), measureDumps(scratch), await measureDigest(scratch, random)];
  return {
    id: 'f',
    title: 'mkfs and digest',
    figures: parts.flatMap(({ figures }) => figures),
    ratios: parts.flatMap(({ ratios }) => ratios),
    notes: parts.flatMap(({ notes }) => notes),
  };
}
