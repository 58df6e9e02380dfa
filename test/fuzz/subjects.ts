import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseDump } from '../../core/image/dump-parser.js';
import { chooseVersion } from '../../core/image/version.js';
import { writeImage } from '../../core/image/writer.js';
import { goodVectors, sampleFolder } from '../support/vectors.js';

const HEX = '0123456789abcdef'.repeat(4);

/** Small, and with everything the format has: each type, links, shared and own xattrs, a whiteout, tails and blocks. */
const EVERYTHING = `/ 0 40755 2 0 0 0 5.5 - - - security.selinux=label user.a=1
/00 0 40700 2 0 0 0 5.5 - - -
/big 9000000000000 100644 1 0 0 0 6.0 ab/cd - ${HEX} user.a=1 user.b=${'w'.repeat(70)}
/blk 0 60600 1 0 0 2049 5.5 - - - system.posix_acl_access=acl
/dir 0 41777 2 70000 70000 0 5.5 - - - trusted.overlay.opaque=y
/dir/${'n'.repeat(255)} 3 100644 1 0 0 0 5.5 - abc - user.a=1
/dir/deep 0 40755 2 0 0 0 5.5 - - - -x=
/dir/deep/hard - @100644 - - - - - /big
/dir/gone 0 20000 1 0 0 0 5.5 - - -
/fifo 0 10644 1 0 0 0 5.5 - - -
/long 3000 100755 1 0 0 0 5.5 - ${'c'.repeat(3000)} -
/pinned 4097 104755 1 1000 1000 0 5.5 ${HEX.slice(0, 2)}/${HEX.slice(2)} - ${HEX} security.capability=cap user.b=${'w'.repeat(70)}
/link 0 120777 1 0 0 0 5.5 target - -
/sock 0 140755 1 0 0 0 5.5 - - -
/wide 0 40755 2 0 0 0 5.5 - - -
${Array.from({ length: 20 }, (_, index) => `/wide/${'x'.repeat(240)}${index} 0 100644 1 0 0 0 5.5 - - -\n`).join('')}`;

/** What gets damaged. `weight`: how often, compared to the others. */
export interface Subject {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly kind: 'image' | 'dump';
  readonly weight: number;
}

/** Without the reference files only the built-in dump and its images. */
export function fuzzSubjects(): readonly Subject[] {
  const dumps = [
    ['everything', Buffer.from(EVERYTHING)],
    ['tiny', Buffer.from(EVERYTHING.slice(0, 1 + EVERYTHING.indexOf('\n')))],
  ] as [string, Uint8Array][];
  for (const vector of goodVectors()) if (vector.size < 50_000) dumps.push([vector.name, vector.dump]);
  const subjects = dumps.flatMap(([name, dump]): Subject[] => {
    const root = parseDump(dump);
    const image = writeImage(root, chooseVersion(root));
    const weight = name === 'everything' ? 30 : 10;
    return [
      { name: `${name} as dump`, bytes: dump, kind: 'dump', weight },
      { name: `${name} as image`, bytes: image, kind: 'image', weight: weight * 2 },
    ];
  });
  const sample = join(sampleFolder, 'sample.cfs');
  if (existsSync(sample))
    subjects.push({ name: 'sample.cfs', bytes: new Uint8Array(readFileSync(sample)), kind: 'image', weight: 8 });
  return subjects;
}
