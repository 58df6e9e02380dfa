import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseDump } from '../../core/image/dump-parser.js';
import { chooseVersion } from '../../core/image/version.js';
import { writeImage } from '../../core/image/writer.js';
import { ROOT_NID, directoryBlock, makeSmallErofs, rootWith, xattrArea, xattrEntry } from '../support/small-erofs.js';
import { makeSourceTree } from '../support/source-tree.js';
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
  readonly kind: 'image' | 'dump' | 'erofs';
  readonly weight: number;
}

/** Without the reference files only the built-in dump and its images; without mkfs.erofs no plain EROFS images but the one put together here. */
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
  return [...subjects, ...erofsSubjects()];
}

/** Directories inline and in blocks, all kinds of files, chunks, names of one file, xattrs of each kind: in three blocks. */
function smallErofs(): Uint8Array {
  const [file, directory, device, link] = [0o104755, 0o40755, 0o60600, 0o120777];
  const dots = (self: number): [string, number, number][] => [
    ['.', self, directory],
    ['..', ROOT_NID, directory],
  ];
  const root = rootWith([
    ['blocks', 60, directory],
    ['chunks', 64, file],
    ['device', 68, device],
    ['file', 72, file],
    ['inline', 80, directory],
    ['link', 84, link],
  ]);
  const xattrs = xattrArea(
    [2048],
    [xattrEntry(6, 'capability', 'x'), xattrEntry(0x80, 'ability', 'y'), xattrEntry(1, 'a', 'bcd')],
  );
  const names = directoryBlock([...dots(60), ['again', 72, file], ['chunks', 64, file]]);
  return makeSmallErofs({
    inodes: [
      root,
      { nid: 60, mode: directory, size: names.length, locator: 1 },
      { nid: 64, mode: file, layout: 4, size: 8192, tail: Buffer.from('01000000ffffffff', 'hex') },
      { nid: 68, mode: device, locator: 0x801 },
      { nid: 72, mode: file, extended: { upper: 0 }, uid: 70_000, gid: 5, xattrs, tail: Buffer.from('text') },
      { nid: 80, mode: directory, tail: directoryBlock([...dots(80), ['again', 72, file]]) },
      { nid: 84, mode: link, tail: Buffer.from('target') },
    ],
    blocks: 3,
    put: {
      4096: names,
      8192: xattrEntry(1, 'shared', 'value'),
      8256: Buffer.from([5, 0, 6, 0x63, 0x61, 0x70, 0]), // a prefix of its own, security.cap
      [1024 + 91]: Uint8Array.of(1),
      [1024 + 92]: Buffer.from(Uint32Array.of(8256 / 4).buffer),
    },
  });
}

/** Without the checksum, so that damage gets past it. */
function withoutChecksum(image: Uint8Array): Uint8Array {
  const at = 1024 + 8;
  image[at] = (image[at] ?? 0) & ~1;
  return image;
}

function erofsSubjects(): Subject[] {
  const small: Subject = { name: 'small EROFS image', bytes: new Uint8Array(smallErofs()), kind: 'erofs', weight: 60 };
  const folder = mkdtempSync(join(tmpdir(), 'fuzz-'));
  try {
    makeSourceTree(join(folder, 'tree'), 40);
    const made = ['', '-zlz4', '--chunksize=4096', '-Eforce-inode-extended', '-x0'].flatMap((options): Subject[] => {
      const file = join(folder, 'image');
      const words = options.split(' ').filter((word) => word !== '');
      const { status } = spawnSync('mkfs.erofs', ['--quiet', ...words, file, join(folder, 'tree')]);
      if (status !== 0) return [];
      return [
        { name: `EROFS image ${options}`, bytes: withoutChecksum(new Uint8Array(readFileSync(file))), kind: 'erofs', weight: 10 },
      ];
    });
    return [small, ...made];
  } finally {
    rmSync(folder, { recursive: true });
  }
}
