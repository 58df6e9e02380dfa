// Container images that nobody should have made: each is refused for a reason of its own or contained, writes nothing outside of the repository, and takes neither
// memory nor time. Longer than 300 lines: two tables.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';

import { CFSCTL } from '../support/cfsctl.js';
import { PATIENCE, requirePrivileges, run } from '../support/machine.js';
import { addBlob, dockerArchive, type Files, ociLayout, sha256, writeArchive, writeFiles } from '../support/oci-image.js';
import { makeScratch } from '../support/scratch.js';
import { END_OF_TAR, gnuLong, tarEntry, tarFile } from '../support/tar-file.js';

// As root, who could write anywhere.
requirePrivileges();
const scratch = makeScratch();
const at = (...names: string[]): string => join(scratch.path, ...names);
const MOST_MIB = 400;
const MOST_MS = 20_000 * PATIENCE;

before(() => {
  writeFileSync(at('victim'), 'untouched');
  mkdirSync(at('outside'));
  writeFileSync(
    at('rss.cjs'),
    `process.on('exit', () => require('node:fs').writeSync(2, 'rss ' + process.resourceUsage().maxRSS + '\\n'));\n`,
  );
});
after(() => scratch.remove());

interface Outcome {
  readonly status: number | null;
  readonly said: string;
}

function importFrom(path: string): Outcome {
  const words = ['-r', at('rss.cjs'), CFSCTL, 'oci', 'import', '--repo', at('repository'), path, 'hostile'];
  const start = performance.now();
  const { status, stderr, signal } = spawnSync(process.execPath, words, { encoding: 'utf8', timeout: 2 * MOST_MS });
  assert.equal(signal, null, 'it ends by itself');
  assert.ok(performance.now() - start < MOST_MS, `it took ${performance.now() - start} ms`);
  const mebibytes = Number(/^rss (\d+)$/m.exec(stderr)?.[1]) / 1024;
  assert.ok(mebibytes < MOST_MIB, `it took ${mebibytes} MiB`);
  return { status, said: stderr.replace(/^rss .*\n/m, '') };
}

/** What is there besides the repository and the source. */
function surroundings(): readonly string[] {
  const names = readdirSync(scratch.path, { recursive: true, encoding: 'utf8' });
  return names.filter((name) => !/^(repository|source)/.test(name)).sort();
}

function assertRefused(path: string, because: RegExp): void {
  const { status, said } = importFrom(path);
  assert.equal(status, 1, said);
  assert.match(said, because);
  assert.doesNotMatch(said, /\n {4}at |Error:/, 'no stack');
  if (readdirSync(scratch.path).includes('repository')) {
    assert.match(run(CFSCTL, 'fsck', '--repo', at('repository')), / 0 images, 0 names: all is well\n$/);
  }
}

/** Nothing has changed but the repository. */
function contained(work: () => void): void {
  const seen = surroundings();
  const inTmp = readdirSync('/tmp').length;
  try {
    work();
    assert.deepEqual(surroundings(), seen);
    assert.equal(readFileSync(at('victim'), 'utf8'), 'untouched');
    assert.ok(Math.abs(readdirSync('/tmp').length - inTmp) < 1000);
  } finally {
    for (const name of ['repository', 'source', 'source.tar']) rmSync(at(name), { recursive: true, force: true });
  }
}

const long = (length: number): string => 'x'.repeat(length);
const dir = { name: 'd/', type: '5' };
const file = { name: 'f', data: 'x'.repeat(100) };
const size64 = (first: number, ...rest: number[]): Buffer =>
  Buffer.from([first, ...Array<number>(11 - rest.length).fill(0), ...rest]);
const victim = (): string => at('victim');

/** Layers, by what is wrong with them. */
const LAYERS: Readonly<Record<string, readonly [tar: () => Buffer, because: RegExp]>> = {
  'a name that starts with ..': [() => tarFile({ ...file, name: '../outside/evil' }), /: a name holds \.\./],
  'a name that climbs out later': [() => tarFile({ ...file, name: 'a/b/../../../outside/evil' }), /: a name holds \.\./],
  'a directory called ..': [() => tarFile({ name: 'a/..', type: '5' }), /: a name holds \.\./],
  'a hard link with .. in its target': [() => tarFile({ name: 'l', type: '1', link: '../victim' }), /: a name holds \.\./],
  'a hard link to a file of the host': [
    () => tarFile({ name: 'l', type: '1', link: victim() }),
    /a hard link leads to what is not there/,
  ],
  'a file through a symbolic link to the host': [
    () => tarFile({ name: 'a', type: '2', link: at('outside') }, { ...file, name: 'a/evil' }),
    /a\/evil: its name leads through what is not a directory/,
  ],
  'a file through a relative symbolic link': [
    () => tarFile({ name: 'a', type: '2', link: '../../..' }, { ...file, name: 'a/evil' }),
    /leads through what is not a directory/,
  ],
  'a file through a file': [() => tarFile(file, { ...file, name: 'f/g' }), /leads through what is not a directory/],
  'a hard link through a symbolic link': [
    () => tarFile({ name: 'a', type: '2', link: '/' }, { name: 'l', type: '1', link: `a${victim()}` }),
    /a hard link leads to what is not there/,
  ],
  'a hard link to a directory': [() => tarFile(dir, { name: 'l', type: '1', link: 'd' }), /a hard link leads to a directory/],
  'a hard link to the root': [() => tarFile({ name: 'l', type: '1', link: './' }), /a hard link leads to a directory/],
  'a hard link to itself': [() => tarFile({ name: 'l', type: '1', link: 'l' }), /a hard link leads to what is not there/],
  'a root that is a file': [() => tarFile({ ...file, name: '.' }), /the root of the tree is not a directory/],
  'a root that is a symbolic link': [
    () => tarFile({ name: './', type: '2', link: '/etc' }),
    /the root of the tree is not a directory/,
  ],
  'a character device 0/0': [() => tarFile({ name: 'w', type: '3' }), /a character device 0\/0/],
  'a device number too large for Linux': [() => tarFile({ name: 'w', type: '4', major: 0x1000 }), /a device number is larger/],
  'an empty name': [() => tarFile({ ...file, name: '' }), /a name is empty/],
  'a NUL in a name': [() => tarFile({ ...file, pax: { path: 'a\0b' } }), /a name holds a NUL/],
  'a part of a name of 256 bytes': [
    () => tarFile({ ...file, pax: { path: long(256) } }),
    /a part of a name has more than 255 bytes/,
  ],
  'a name of 4096 bytes': [
    () => tarFile({ ...file, pax: { path: 'abcdefg/'.repeat(511) + long(8) } }),
    /a name has more than 4095 bytes/,
  ],
  'a name of 257 parts': [() => tarFile({ ...file, pax: { path: 'a/'.repeat(256) + 'f' } }), /a name has more than 256 parts/],
  'a symbolic link to nothing': [() => tarFile({ name: 's', type: '2' }), /the target of a symbolic link has 1 to 4095 bytes/],
  'a symbolic link of 4096 bytes': [
    () => tarFile({ name: 's', type: '2', pax: { linkpath: long(4096) } }),
    /the target of a symbolic link has/,
  ],
  'a wrong checksum': [
    () => tarFile({ ...file, damage: (header) => void (header[0] = 0x67) }),
    /the checksum of a header is wrong/,
  ],
  'an unknown format': [() => tarFile({ ...file, magic: 'ustar\x0001' }), /a header is neither POSIX nor GNU tar/],
  'the format of star': [
    () => tarFile({ ...file, change: (header) => void header.write('tar\0', 508) }),
    /in the format of star/,
  ],
  'a size that is no octal number': [
    () => tarFile({ ...file, size: Buffer.from('00000000189\0') }),
    /the size in a header is no octal number/,
  ],
  'a size with something behind it': [
    () => tarFile({ ...file, size: Buffer.from('144\x00144\0   ') }),
    /the size in a header is no octal number/,
  ],
  'a negative size': [() => tarFile({ ...file, size: Buffer.alloc(12, 0xff) }), /the size in a header is negative or too large/],
  'a size of 2^63': [() => tarFile({ ...file, size: size64(0x80, 0x80, 0, 0, 0, 0, 0, 0, 0) }), /negative or too large/],
  'a size of a petabyte': [
    () => tarFile({ ...file, size: size64(0x80, 4, 0, 0, 0, 0, 0, 0) }),
    /unpacked, the layers have more than/,
  ],
  'a size beyond the end': [() => tarFile({ ...file, size: 5000 }), /the archive ends within an entry/],
  'half a header': [() => Buffer.concat([tarEntry(file), tarEntry(file).subarray(0, 100)]), /the archive ends within an entry/],
  'a directory with bytes': [() => tarFile({ ...dir, data: 'x' }), /a directory says that 1 bytes follow/],
  'a hard link with bytes': [
    () => tarFile(file, { name: 'l', type: '1', link: 'f', data: 'x' }),
    /a link says that 1 bytes follow/,
  ],
  'a symbolic link with a size of pax': [
    () => tarFile({ name: 's', type: '2', link: 'f', pax: { size: '512' } }, Buffer.alloc(512, 'x')),
    /a symlink says that 512 bytes follow/,
  ],
  'a sparse file of GNU tar': [() => tarFile({ ...file, type: 'S' }), /a sparse file \(GNU\)/],
  'a sparse file of pax': [
    () => tarFile({ ...file, pax: { 'GNU.sparse.major': '1', 'GNU.sparse.realsize': '1099511627776' } }),
    /a sparse file \(POSIX\)/,
  ],
  'a label of a volume': [() => tarFile({ name: 'label', type: 'V' }), /the label of a volume/],
  'an unknown type': [() => tarFile({ ...file, type: '\u00E9' }), /an entry of an unknown type \(byte 0xe9\)/],
  'a record that is longer than its header': [
    () => tarFile(tarEntry({ name: 'p', type: 'x', data: '99 path=a\n' }), file),
    /not LENGTH KEY=VALUE/,
  ],
  'a record without a length': [
    () => tarFile(tarEntry({ name: 'p', type: 'x', data: 'path=a\n' }), file),
    /does not start with its length/,
  ],
  'a record of no bytes': [
    () => tarFile(tarEntry({ name: 'p', type: 'x', data: '0 path=a\n' }), file),
    /does not start with its length/,
  ],
  'an extended header of 2 MiB': [
    () => tarFile({ ...file, pax: { comment: long(2 << 20) } }),
    /an? extended header has \d+ bytes, more than/,
  ],
  'an extended header that says to have 8 GiB': [
    () => tarFile(tarEntry({ name: 'p', type: 'x', size: 8 * 2 ** 30 - 1 }), file),
    /an? extended header has 8589934591 bytes, more than/,
  ],
  'a long name of 1 MiB': [() => tarFile(gnuLong('L', long(1 << 20)), file), /a long name has \d+ bytes, more than/],
  'two extended headers for one entry': [
    () => tarFile(tarEntry({ name: 'p', type: 'x', data: '10 path=a\n' }), { ...file, pax: { path: 'b' } }),
    /there are two headers of the kind extended header/,
  ],
  'a name of pax and one of GNU tar': [
    () => tarFile(gnuLong('L', 'one'), { ...file, pax: { path: 'two' } }),
    /an entry has two names/,
  ],
  'a global header that renames': [
    () => tarFile(tarEntry({ name: 'g', type: 'g', data: '10 path=a\n' }), file),
    /a global extended header holds more than a comment/,
  ],
  'an extended header that belongs to nothing': [
    () => tarFile(tarEntry({ name: 'p', type: 'x', data: '10 path=a\n' })),
    /an extension header belongs to no entry/,
  ],
  'an unknown character set': [() => tarFile({ ...file, pax: { hdrcharset: 'EBCDIC' } }), /unknown character set/],
  'a time that is none': [() => tarFile({ ...file, pax: { mtime: '1e99' } }), /the mtime in an extended header is no time/],
  'a user id of 2^32 - 1': [
    () => tarFile({ ...file, pax: { uid: '4294967295' } }),
    /the uid in an extended header is no number, or too large/,
  ],
  'a group id beyond octal': [
    () => tarFile({ ...file, change: (header) => size64(0x80, 1, 0, 0, 0, 0).copy(header, 116, 4) }),
    /header|larger/,
  ],
  'a whiteout of the directory itself': [() => tarFile({ name: 'd/.wh..' }), /a whiteout that names no file/],
  'a whiteout of the directory above': [() => tarFile({ name: 'd/.wh...' }), /a whiteout that names no file/],
  'a whiteout without a name': [() => tarFile({ name: 'd/.wh.' }), /a whiteout that names no file/],
  'a whiteout with content': [() => tarFile({ name: '.wh.f', data: 'x' }), /a whiteout that is not an empty file/],
  'a whiteout that is a symbolic link': [
    () => tarFile({ name: '.wh.f', type: '2', link: '/etc' }),
    /a whiteout that is not an empty file/,
  ],
  'a file below a whiteout': [() => tarFile({ ...file, name: '.wh.d/f' }), /a name leads through a whiteout/],
  'a second archive behind the end': [
    () => Buffer.concat([tarFile(file), tarFile(file)]),
    /something follows the end of the archive/,
  ],
  '2 MiB of zeros behind the end': [() => Buffer.concat([tarFile(file), Buffer.alloc(2 << 20)]), /too much follows the end/],
  'attributes of more than an image holds': [
    () => tarFile({ ...file, pax: { 'SCHILY.xattr.user.a': long(20_000), 'SCHILY.xattr.user.b': long(20_000) } }),
    /the extended attributes take \d+ bytes/,
  ],
  'an attribute with a name of 300 bytes': [
    () => tarFile({ ...file, pax: { [`SCHILY.xattr.user.${long(300)}`]: '1' } }),
    /an xattr key has at most 255 bytes/,
  ],
};
for (const [what, [tar, because]] of Object.entries(LAYERS)) {
  test(`refused in a layer: ${what}`, () => {
    contained(() => {
      assertRefused(writeArchive(at('source.tar'), dockerArchive([{ layers: [tar()] }])), because);
    });
  });
}

const good = tarFile(dir, file);
const OCI = 'application/vnd.oci.image';

function withIndex(files: Files, index: unknown): Files {
  return new Map([...files, ['index.json', Buffer.from(JSON.stringify(index))]]);
}

/** Indexes in each other. */
function nest(depth: number): Files {
  const files = ociLayout([{ layers: [good] }]);
  let inner = files.get('index.json')!;
  for (let level = 0; level < depth; level += 1) {
    const found = addBlob(files, `${OCI}.index.v1+json`, inner);
    inner = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [found] }));
  }
  return new Map([...files, ['index.json', inner]]);
}

/** An index that leads to others so often that following all of them would never end. */
function fan(): Files {
  const files = ociLayout([{ layers: [good] }]);
  let inner = files.get('index.json')!;
  for (let level = 0; level < 2; level += 1) {
    const found = addBlob(files, `${OCI}.index.v1+json`, inner);
    inner = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: Array(5000).fill(found) }));
  }
  return new Map([...files, ['index.json', inner]]);
}

/** Replaces the content of the one file whose name is asked for. */
function changed(files: Files, which: (name: string, bytes: Buffer) => boolean, change: (bytes: Buffer) => Buffer): Files {
  const found = [...files].filter(([name, bytes]) => which(name, bytes));
  assert.equal(found.length, 1);
  const [name, bytes] = found[0]!;
  return new Map([...files, [name, change(bytes)]]);
}

const isText = (text: string) => (_: string, bytes: Buffer) => bytes.includes(text) && bytes[0] === 0x7b;
const isLayer = (_: string, bytes: Buffer): boolean => bytes.length > 0 && bytes[0] !== 0x7b;
const flip = (bytes: Buffer): Buffer => {
  const copy = Buffer.from(bytes);
  copy[copy.length - 1]! ^= 1;
  return copy;
};
const zstd = (...words: string[]): Buffer => {
  const { status, stdout } = spawnSync('zstd', ['-q', '-c', ...words], { input: good });
  assert.equal(status, 0);
  return stdout;
};

/** Sources, by what is wrong with them beside their layers. */
const SOURCES: Readonly<Record<string, readonly [files: () => Files, because: RegExp]>> = {
  'a layer that is not what its digest says': [
    () =>
      changed(ociLayout([{ layers: [good] }]), isLayer, (bytes) => tarFile({ ...file, data: 'X'.repeat(bytes.length - 2560) })),
    /has, unpacked, the digest|has \d+ bytes, not/,
  ],
  'a packed layer of which one bit is another': [
    () => changed(ociLayout([{ layers: [{ tar: good, packing: 'gzip' }] }]), isLayer, flip),
    /it is damaged|has, packed, the digest/,
  ],
  'a layer that is unpacked to something else than the configuration says': [
    () => ociLayout([{ layers: [{ tar: good, diffId: `sha256:${'0'.repeat(64)}` }] }]),
    /has, unpacked, the digest sha256:\w+, not sha256:0000/,
  ],
  'a gzip layer that is cut off': [
    () => ociLayout([{ layers: [{ tar: good, packing: 'gzip', blob: gzipSync(good).subarray(0, 60) }] }]),
    /it is damaged, or cut off/,
  ],
  'a gzip layer that is none': [
    () => ociLayout([{ layers: [{ tar: good, packing: 'gzip', blob: Buffer.from('1f8b0800000000000003ffffffffffff', 'hex') }] }]),
    /it is damaged, or cut off/,
  ],
  'a zstd layer that is cut off': [
    () => ociLayout([{ layers: [{ tar: good, packing: 'zstd', blob: zstd().subarray(0, 40) }] }]),
    /it is cut off/,
  ],
  'a zstd layer of rubbish': [
    () => ociLayout([{ layers: [{ tar: good, packing: 'zstd', blob: Buffer.from(`28b52ffd${'ff'.repeat(100)}`, 'hex') }] }]),
    /it is damaged, or needs more than/,
  ],
  'a zstd layer that asks for 2 GiB of memory': [
    // Frame header: no size, no checksum, a window of 2^31 bytes; then one raw block, the last, of one byte.
    () => ociLayout([{ layers: [{ tar: good, packing: 'zstd', blob: Buffer.from('28b52ffd00a809000061', 'hex') }] }]),
    /it is damaged, or needs more than 128 MiB/,
  ],
  'a layer packed with xz': [
    () => ociLayout([{ layers: [{ tar: good, blob: Buffer.from('fd377a585a000000', 'hex') }] }]),
    /it is packed with xz/,
  ],
  'a layer that is missing': [
    () => new Map([...ociLayout([{ layers: [good] }])].filter(([name, bytes]) => !isLayer(name, bytes))),
    /the layer .* is missing/,
  ],
  'a manifest that is not what its digest says': [
    () =>
      changed(ociLayout([{ layers: [good] }]), isText('"layers":[{'), (bytes) =>
        Buffer.from(bytes.toString().replace('"size"', '"sIze"')),
      ),
    /the blob sha256:\w+ has the digest/,
  ],
  'a configuration that is longer than said': [
    () => changed(ociLayout([{ layers: [good] }]), isText('diff_ids'), (bytes) => Buffer.concat([bytes, Buffer.from(' ')])),
    /has \d+ bytes, not \d+/,
  ],
  'a configuration with other layers than the manifest': [
    () => {
      const files = dockerArchive([{ layers: [good] }]);
      const [entry] = JSON.parse(files.get('manifest.json')!.toString()) as { Layers: string[] }[];
      return new Map([
        ...files,
        ['manifest.json', Buffer.from(JSON.stringify([{ ...entry, Layers: [...entry!.Layers, ...entry!.Layers] }]))],
      ]);
    },
    /the configuration speaks of 1 layers, and the image has 2/,
  ],
  'a configuration under the name of another': [
    () =>
      changed(
        dockerArchive([{ layers: [good] }]),
        (name) => /^[0-9a-f]{64}\.json$/.test(name),
        (bytes) => Buffer.concat([bytes, Buffer.from(' ')]),
      ),
    /the configuration \w+ has the digest/,
  ],
  'a digest that leads out of the layout': [
    () =>
      withIndex(ociLayout([{ layers: [good] }]), {
        schemaVersion: 2,
        manifests: [{ mediaType: `${OCI}.manifest.v1+json`, digest: 'sha256:../../victim', size: 9 }],
      }),
    /index\.json is not as it must be/,
  ],
  'a digest of another algorithm': [
    () =>
      withIndex(ociLayout([{ layers: [good] }]), {
        schemaVersion: 2,
        manifests: [{ mediaType: `${OCI}.manifest.v1+json`, digest: `md5:${'0'.repeat(32)}`, size: 9 }],
      }),
    /index\.json is not as it must be/,
  ],
  'indexes nested without end': [() => nest(12), /indexes are nested more than 3 deep/],
  'indexes by the million': [fan, /it has more than 64 indexes/],
  'an index of 5 MiB': [
    () => new Map([...ociLayout([{ layers: [good] }]), ['index.json', Buffer.alloc(5 << 20, ' ')]]),
    /has 5242880 bytes, more than 4194304/,
  ],
  'an index that is nested two million deep': [
    () => new Map([...ociLayout([{ layers: [good] }]), ['index.json', Buffer.alloc(2 << 20, '[')]]),
    /index\.json is not JSON/,
  ],
  'an image for another system': [
    () => ociLayout([{ layers: [good], os: 'windows' }]),
    /the image is for windows\/amd64, not for Linux/,
  ],
  'a file of layers that leads out of the archive': [
    () => {
      const files = dockerArchive([{ layers: [good] }]);
      const [entry] = JSON.parse(files.get('manifest.json')!.toString()) as object[];
      return new Map([...files, ['manifest.json', Buffer.from(JSON.stringify([{ ...entry, Layers: ['../victim'] }]))]]);
    },
    /the layer "..\/victim" is missing/,
  ],
};
for (const [what, [files, because]] of Object.entries(SOURCES)) {
  test(`refused in an archive: ${what}`, () => {
    contained(() => assertRefused(writeArchive(at('source.tar'), files()), because));
  });
}

test('refused in a directory: a blob that is a symbolic link, a FIFO or a directory', () => {
  for (const [put, because] of [
    [(path: string) => symlinkSync(victim(), path), /is reached by a link, which is not followed/],
    [(path: string) => void run('mkfifo', path), /is not a regular file/],
    [(path: string) => mkdirSync(path), /is not a regular file/],
  ] as const) {
    contained(() => {
      const files = ociLayout([{ layers: [good] }]);
      const source = writeFiles(at('source'), files);
      const blob = join(source, `blobs/sha256/${sha256(good)}`);
      rmSync(blob);
      put(blob);
      assertRefused(source, because);
    });
  }
});

test('refused in an archive of an image: files twice, devices, links in a circle, one that is packed as a whole, an empty one', () => {
  const files = dockerArchive([{ layers: [good] }]);
  const entries = [...files].map(([name, data]) => ({ name, data }));
  const layer = `${sha256(good)}.tar`;
  const rest = entries.filter(({ name }) => name !== layer);
  const cases: readonly (readonly [bytes: Buffer, because: RegExp])[] = [
    [tarFile(...entries, entries[0]!), /the archive has two files/],
    [tarFile(...entries, { name: 'x', type: '4', major: 8 }), /the archive has a block: x/],
    [tarFile(...rest, { name: layer, type: '2', link: layer }), /the layer .* is missing/],
    [tarFile(...rest, { name: layer, type: '2', link: at('victim') }), /the layer .* is missing/],
    [tarFile(...rest, { name: layer, type: '2', link: '../victim' }), /the layer .* is missing/],
    [gzipSync(tarFile(...entries)), /is compressed as a whole/],
    [END_OF_TAR, /it is neither an OCI layout nor a docker-archive/],
    [Buffer.alloc(0), /there is no file in it/],
    [Buffer.alloc(4096, 'rubbish '), /the checksum of a header is wrong|no octal number/],
  ];
  for (const [bytes, because] of cases) {
    contained(() => {
      writeFileSync(at('source.tar'), bytes);
      assertRefused(at('source.tar'), because);
    });
  }
});

interface Listed {
  readonly path: string;
  readonly type: string;
}

function listTree(): Listed[] {
  const [image = ''] = readdirSync(at('repository/images')).filter((name) => name !== 'refs');
  return JSON.parse(run(CFSCTL, '--json', 'ls', '-R', at('repository/images', image))) as Listed[];
}

test('contained: absolute names, links out, devices, names that terminals act on; entries that come again', () => {
  contained(() => {
    const tar = tarFile(
      { ...file, name: '/outside/evil' },
      { name: 'out', type: '2', link: at('outside') },
      { name: 'up', type: '2', link: '../../../../victim' },
      { name: 'null', type: '3', major: 1, minor: 3 },
      { name: 'esc\u001B[31m\n', data: 'x' },
      { ...file, name: 'twice' },
      { name: 'twice', type: '5' },
      { ...file, name: 'twice/inside' },
      { name: 'twice', type: '2', link: 'f' },
      { ...file, pax: { 'SCHILY.xattr.trusted.overlay.redirect': '/etc', 'SCHILY.xattr.user.overlay.opaque': 'y' } },
    );
    const { status, said } = importFrom(writeArchive(at('source.tar'), dockerArchive([{ layers: [tar] }])));
    assert.deepEqual([status, said], [0, '']);
    const tree = listTree();
    assert.deepEqual(
      tree.map(({ path, type }) => `${path} ${type}`),
      [
        '/esc\\x1b[31m\\n file',
        '/f file',
        '/null character',
        '/out symlink',
        '/outside directory',
        '/outside/evil file',
        '/twice symlink',
        '/up symlink',
      ],
    );
    const [image = ''] = readdirSync(at('repository/images')).filter((name) => name !== 'refs');
    const dump = run(CFSCTL, 'dump', at('repository/images', image));
    assert.doesNotMatch(dump, /trusted\.overlay|user\.overlay/);
    run('fsck.erofs', at('repository/images', image));
  });
});
