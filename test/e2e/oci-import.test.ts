// Container images in all their forms, from the archive to the mount's image; and what the repository keeps of them. The built cfsctl as an ordinary user.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';

import { cfsctl, outputOf } from '../support/cfsctl.js';
import { run } from '../support/machine.js';
import {
  configOf,
  dockerArchive,
  type ImageMaking,
  ociLayout,
  type Packing,
  sha256,
  writeArchive,
  writeFiles,
} from '../support/oci-image.js';
import { makeOciRoom, text } from '../support/oci-room.js';
import type { Outcome } from '../support/run-as.js';
import { tarFile, type TarFields } from '../support/tar-file.js';

const { at, fresh, importInto, archiveOf, treeOf, pathsOf, assertSound, remove } = makeOciRoom();
after(remove);

function assertRefused({ status, stdout, stderr }: Outcome, because: RegExp, hint: RegExp): void {
  assert.deepEqual([status, stdout], [1, '']);
  assert.match(stderr, because);
  assert.match(stderr, hint);
}

const base = tarFile(
  { name: './', type: '5', mode: 0o755 },
  { name: 'etc/', type: '5' },
  { name: 'etc/passwd', data: 'root:x:0:0\n' },
  { name: 'etc/big', data: text('big', 1000), uid: 1000, gid: 1001, mode: 0o4750 },
  { name: 'etc/same', type: '1', link: 'etc/big' },
  { name: 'opaque/', type: '5', mode: 0o700 },
  { name: 'opaque/below', data: text('below') },
  { name: 'gone', data: text('gone') },
  { name: 'link', type: '2', link: 'etc/passwd' },
);
const top = tarFile(
  { name: '.wh.gone' },
  { name: 'opaque/above', data: text('above') },
  { name: 'opaque/.wh..wh..opq' },
  { name: 'again', type: '1', link: 'etc/big' },
);
const LONG = Buffer.alloc(20 << 20, 'a long file, of several ranges ');

test('docker-archive, OCI layout and OCI archive, plain, gzip and zstd, are one image', () => {
  const repository = fresh('repository');
  const seen = new Set<string>();
  const packings: Packing[] = ['none', 'gzip', 'zstd'];
  for (const packing of packings) {
    const making = { layers: [base, top].map((tar) => ({ tar, packing })), tag: 'localhost/x:latest' };
    const sources = [
      writeArchive(`${fresh('docker')}.tar`, dockerArchive([making])),
      writeArchive(`${fresh('oci')}.tar`, ociLayout([making])),
      writeFiles(fresh('layout'), ociLayout([making], true)),
      writeFiles(fresh('docker'), dockerArchive([making])),
    ];
    for (const source of sources) {
      const { id, digest, layers, written } = importInto(repository, source, 'x');
      assert.equal(id, sha256(configOf(making)));
      assert.deepEqual(
        layers,
        [base, top].map((tar) => ({ diffId: `sha256:${sha256(tar)}`, size: tar.length })),
      );
      if (seen.size > 0) assert.deepEqual(written, { objects: 0, bytes: '0' }, 'importing again adds nothing');
      seen.add(`${id} ${digest}`);
    }
  }
  assert.equal(seen.size, 1);
  // etc/big, opaque/above and the image; what is hidden is not stored.
  assertSound(repository, /^3 objects, 1 image, 1 name, 1 OCI image: /);
});

test('layers in several members or frames, as pigz, estargz and zstd:chunked make them', () => {
  const repository = fresh('repository');
  const halves = [base.subarray(0, 700), base.subarray(700)];
  const skipped = Buffer.from('502a4d1804000000736b6970', 'hex'); // of four bytes, which mean nothing
  const zstd = halves.map((input) => spawnSync('zstd', ['-q', '-c'], { input }).stdout);
  const blobs = { gzip: Buffer.concat(halves.map((half) => gzipSync(half))), zstd: Buffer.concat([skipped, ...zstd, skipped]) };
  for (const packing of ['gzip', 'zstd'] as const) {
    const files = ociLayout([{ layers: [{ tar: base, packing, blob: blobs[packing] }] }]);
    const { layers } = importInto(repository, writeFiles(fresh('frames'), files), packing);
    assert.deepEqual(layers, [{ diffId: `sha256:${sha256(base)}`, size: base.length }]);
  }
});

test('layers are flattened: whiteouts, opaque directories, hard links across layers, owners and modes', () => {
  const repository = fresh('repository');
  const tree = treeOf(repository, importInto(repository, archiveOf({ layers: [base, top] }), 'x').digest);
  assert.deepEqual(
    [...tree.keys()],
    ['/', '/again', '/etc', '/etc/big', '/etc/passwd', '/etc/same', '/link', '/opaque', '/opaque/above'],
  );
  assert.match(tree.get('/again')!, /^4000 104750 3 1000:1001 /);
  assert.match(tree.get('/etc/big')!, /^4000 @104750 3 1000:1001 \/again/);
  assert.match(tree.get('/opaque')!, /^\d+ 40700 /);
  assert.match(tree.get('/link')!, /^10 120777 1 0:0 etc\/passwd$|^10 120777 /);
});

test('bytes are right: of files inside the image, of small and long objects, of holes, and of a hidden file with another name', () => {
  const repository = fresh('repository');
  const holes = Buffer.concat([Buffer.alloc(9 << 20), Buffer.from('end')]);
  const contents: Record<string, Buffer> = {
    empty: Buffer.alloc(0),
    inside: Buffer.alloc(64, 'i'),
    object: Buffer.alloc(65, 'o'),
    block: Buffer.alloc(4096, 'b'),
    odd: Buffer.alloc(4 * 2 ** 20 + 1, 'odd'),
    long: LONG,
    holes,
  };
  const layer = tarFile(...Object.entries(contents).map(([name, data]) => ({ name, data })), {
    name: 'name',
    type: '1',
    link: 'long',
  });
  const { digest } = importInto(
    repository,
    archiveOf({ layers: [{ tar: layer, packing: 'gzip' }, tarFile({ name: 'long', data: 'new' })] }),
    'x',
  );
  const tree = join(fresh('tree'));
  mkdirSync(tree);
  for (const [name, bytes] of Object.entries({ ...contents, long: Buffer.from('new'), name: LONG }))
    writeFileSync(join(tree, name), bytes);
  const wanted = outputOf('--json', 'mkfs', '--print-digest', '--skip-xattrs', tree, join(tree, '../wanted.cfs'));
  assert.match(wanted, /sha256:/);
  const objects = (path: string): string[] => outputOf('objects', path).trim().split('\n');
  assert.deepEqual(objects(join(repository, 'images', digest.slice(7))), objects(at('wanted.cfs')));
  assertSound(repository);
});

test('what npm libraries damage: capabilities, names that are no UTF-8, times with nanoseconds', () => {
  const repository = fresh('repository');
  // cap_setuid=ep: its byte 0x80 is no UTF-8.
  const capability = Buffer.from('0100000280000000000000000000000000000000', 'hex');
  const layer = tarFile(
    { name: 'newuidmap', data: 'x', pax: { 'SCHILY.xattr.security.capability': capability, mtime: '1700000000.123456789' } },
    { name: Buffer.from('caf\u00E9', 'latin1'), data: 'x', pax: { 'SCHILY.xattr.security.selinux': 'label', mtime: '-1.25' } },
  );
  const { digest } = importInto(repository, archiveOf({ layers: [layer] }), 'x');
  const lines = outputOf('dump', join(repository, 'images', digest.slice(7))).split('\n');
  assert.equal(lines[1], '/caf\\xe9 1 100644 1 0 0 0 -2.750000000 - x -');
  assert.match(
    lines[2]!,
    /^\/newuidmap 1 100644 1 0 0 0 1700000000\.123456789 - x - security\.capability=\\x01\\x00\\x00\\x02\\x80(\\x00)+$/,
  );
});

const file = (name: string): TarFields => ({ name, data: text(name) });
const arch = (architecture: string, word: string, more: Partial<ImageMaking> = {}): ImageMaking => ({
  layers: [tarFile(file(word))],
  architecture,
  ...more,
});

test('an index of several platforms: --platform chooses, this machine by default', () => {
  const images = [arch('amd64', 'amd'), arch('arm64', 'arm', { variant: 'v8' }), arch('arm', 'old', { variant: 'v7' })];
  const layout = writeFiles(fresh('layout'), ociLayout(images, true));
  const seen = (...words: string[]): string => {
    const repository = fresh('repository');
    const { digest, platform } = importInto(repository, ...words, layout, 'x');
    return `${platform} ${pathsOf(repository, digest).at(-1)}`;
  };
  assert.equal(seen('--platform', 'linux/arm64'), 'linux/arm64/v8 /arm');
  assert.equal(seen('--platform', 'linux/arm64/v8'), 'linux/arm64/v8 /arm');
  assert.equal(seen('--platform', 'linux/arm/v7'), 'linux/arm/v7 /old');
  assert.equal(seen(), process.arch === 'arm64' ? 'linux/arm64/v8 /arm' : 'linux/amd64 /amd');
  const refused = cfsctl('oci', 'import', '--repo', fresh('repository'), '--platform', 'linux/s390x', layout, 'x');
  assertRefused(refused, /does not have an image for linux\/s390x/, /it has sha256:\w+ \(linux\/amd64\), .*\(linux\/arm64\/v8\)/);
  assertRefused(
    cfsctl('oci', 'import', '--repo', fresh('repository'), '--platform', 'linux', layout, 'x'),
    /a platform is OS\/ARCHITECTURE/,
    /linux\/amd64/,
  );
});

test('several images in one archive: --image chooses by tag', () => {
  const images = [arch('amd64', 'one', { tag: 'localhost/one:latest' }), arch('amd64', 'two', { tag: 'localhost/two:latest' })];
  for (const source of [
    writeArchive(`${fresh('docker')}.tar`, dockerArchive(images)),
    writeArchive(`${fresh('oci')}.tar`, ociLayout(images)),
  ]) {
    const repository = fresh('repository');
    assertRefused(
      cfsctl('oci', 'import', '--repo', repository, '--platform', 'linux/amd64', source, 'x'),
      /has several images: localhost\/one:latest, localhost\/two:latest/,
      /--image/,
    );
    const { digest } = importInto(repository, '--image', 'localhost/two:latest', source, 'x');
    assert.deepEqual(pathsOf(repository, digest), ['/', '/two']);
    assertRefused(
      cfsctl('oci', 'import', '--repo', repository, '--image', 'no', source, 'x'),
      /does not have an image no/,
      /it has localhost\/one/,
    );
  }
});

test('what is kept: configuration and manifest byte for byte, by name and by id; names are shared, taken away, collected', () => {
  const repository = fresh('repository');
  const repo = ['--repo', repository];
  const making = { layers: [base], config: { Env: ['A=é'], Cmd: ['/bin/sh'] } };
  const files = ociLayout([making]);
  const { id, digest } = importInto(repository, writeFiles(fresh('layout'), files), 'team/base');
  const other = importInto(repository, archiveOf({ layers: [base], config: { Env: ['B=1'] } }), 'other');
  assert.deepEqual([other.digest, other.written.objects], [digest, 0], 'one image, two configurations');
  assert.notEqual(other.id, id);
  assert.equal(outputOf('oci', 'config', ...repo, 'team/base'), configOf(making).toString());
  assert.equal(outputOf('oci', 'config', ...repo, id), configOf(making).toString());
  const manifest = readFileSync(join(repository, 'oci', id, 'manifest.json'));
  assert.ok(manifest.equals(files.get(`blobs/sha256/${sha256(manifest)}`)!));
  assert.equal(readlinkSync(join(repository, 'oci/refs/team/base')), `../../${id}`);
  outputOf('tag', ...repo, 'team/base', 'again');
  const shown = JSON.parse(outputOf('--json', 'oci', 'inspect', ...repo, id)) as Record<string, unknown>;
  assert.deepEqual(
    [shown['id'], shown['digest'], shown['names'], shown['platform']],
    [id, digest, ['again', 'team/base'], 'linux/amd64'],
  );
  outputOf('rm', ...repo, 'team/base', 'again');
  assert.match(outputOf('gc', ...repo), new RegExp(`^forgot the OCI image ${id}\nremoved 0 objects`));
  assertSound(repository, / 1 image, 1 name, 1 OCI image: /);
  assertRefused(cfsctl('oci', 'config', ...repo, 'again'), /has no OCI image again/, /cfsctl oci import/);
  outputOf('tag', ...repo, digest, 'by-digest');
  assert.equal(outputOf('oci', 'config', ...repo, 'by-digest'), outputOf('oci', 'config', ...repo, 'other'));
  outputOf('rm', ...repo, 'by-digest', 'other');
  outputOf('gc', ...repo);
  assertSound(repository, /^0 objects, 0 images, 0 names: /);
  assert.deepEqual(readdirSync(join(repository, 'oci')), ['refs']);
});

test('a name that a directory is imported under is none of a container image any more', () => {
  const repository = fresh('repository');
  const tree = fresh('tree');
  mkdirSync(tree);
  importInto(repository, archiveOf({ layers: [base] }), 'x');
  outputOf('import', '--repo', repository, tree, 'x');
  assertRefused(cfsctl('oci', 'inspect', '--repo', repository, 'x'), /has no OCI image x/, /./);
});

test('fsck tells of a record that was changed, of one whose image is gone, of a name that leads nowhere', () => {
  const repository = fresh('repository');
  const { id } = importInto(repository, archiveOf({ layers: [base] }), 'x');
  const said = (): string => cfsctl('fsck', '--repo', repository).stdout;
  const config = join(repository, 'oci', id, 'config.json');
  const bytes = readFileSync(config);
  writeFileSync(config, `${bytes.toString()} `);
  assert.match(said(), new RegExp(`oci/${id} the record oci/${id} has another configuration`));
  assertRefused(cfsctl('gc', '--repo', repository), /has another configuration than its name says/, /import the image again/);
  writeFileSync(config, bytes);
  for (const name of readdirSync(join(repository, 'images')).filter((each) => each !== 'refs'))
    rmSync(join(repository, 'images', name));
  assert.match(said(), new RegExp(`^oci/${id} needs images/`, 'm'));
  rmSync(join(repository, 'oci', id), { recursive: true });
  assert.match(said(), new RegExp(`^oci/refs/x leads to oci/${id}, which is missing$`, 'm'));
});

test('device nodes are kept, or left out', () => {
  const making = { layers: [tarFile(file('a'), { name: 'null', type: '3', major: 1, minor: 3 })] };
  const repository = fresh('repository');
  const kept = importInto(repository, archiveOf(making), 'x');
  const left = importInto(repository, '--skip-devices', archiveOf(making), 'x');
  assert.deepEqual(
    [pathsOf(repository, kept.digest), pathsOf(repository, left.digest)],
    [
      ['/', '/a', '/null'],
      ['/', '/a'],
    ],
  );
  assert.equal(kept.id, left.id);
  assertSound(repository, / 1 OCI image: /);
});

test('what skopeo makes of an image is the same image', () => {
  const repository = fresh('repository');
  const archive = archiveOf({ layers: [base, top], tag: 'localhost/x:latest' });
  const { digest, id } = importInto(repository, archive, 'x');
  for (const target of [
    `oci:${fresh('skopeo')}`,
    `oci-archive:${fresh('skopeo')}.tar`,
    `docker-archive:${fresh('skopeo')}.tar`,
  ]) {
    run('skopeo', '--insecure-policy', 'copy', '--quiet', `docker-archive:${archive}`, `${target}:localhost/y:1`);
    const path = target.slice(target.indexOf(':') + 1);
    run('chmod', '-R', 'go+rX', path);
    const again = importInto(repository, path, 'y');
    assert.deepEqual([again.digest, again.written.objects], [digest, 0]);
    if (target.startsWith('docker')) assert.match(again.id, /^[0-9a-f]{64}$/);
    else assert.equal(typeof id, 'string');
  }
});
