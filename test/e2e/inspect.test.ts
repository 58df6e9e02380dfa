// The commands that look into image files, as people run them: no service, no root, images of any kind and of bad will.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { parseDump } from '../../core/image/dump-parser.js';
import { writeImage } from '../../core/image/writer.js';
import { CFSCTL, cfsctl, outputOf as output } from '../support/cfsctl.js';
import { digestOfFile, makeErofs } from '../support/images.js';
import { run, SHARED, withoutSample } from '../support/machine.js';
import { goodVectors } from '../support/vectors.js';

const skip = withoutSample();
const scratch = mkdtempSync(join(tmpdir(), 'cfsctl-inspect-'));
const sample = join(SHARED, 'sample/sample.cfs');
const store = join(scratch, 'objects');
const plain = join(scratch, 'plain.erofs');

before(() => {
  chmodSync(scratch, 0o755);
  makeErofs(plain, { 'hello.txt': 'hello\n' });
  if (skip) return;
  run('tar', '-C', scratch, '--no-same-owner', '-xzf', join(SHARED, 'sample/objects.tar.gz'));
  run('chmod', '-R', 'u=rwX,go=rX', store);
});
after(() => rmSync(scratch, { recursive: true, force: true }));

function file(name: string, bytes: Uint8Array | string): string {
  const path = join(scratch, name);
  writeFileSync(path, bytes);
  return path;
}

test('info of the sample: the digests that fsverity computes, the counts of its tree', { skip }, () => {
  const info = JSON.parse(output('--json', 'info', sample)) as Record<string, unknown>;
  assert.deepEqual(info, {
    kind: 'composefs',
    version: 0,
    size: readFileSync(sample).length,
    digests: {
      sha256: `sha256:${run('fsverity', 'digest', '--compact', '--hash-alg=sha256', sample).trim()}`,
      sha512: `sha512:${run('fsverity', 'digest', '--compact', '--hash-alg=sha512', sample).trim()}`,
    },
    entries: 1354,
    canonical: true,
    devices: 0,
    setUid: 1,
    setGid: 0,
    fileCapabilities: 0,
    largestUid: 1000,
    largestGid: 1000,
    objects: 902,
    objectBytes: String(sizeOfStore()),
    unpinned: 0,
    misdirected: 0,
  });
  assert.match(output('info', sample), /^kind +composefs, format version 0\n[^]*\nentries +1354\ncanonical +yes\n/);
});

function sizeOfStore(): number {
  const sizes = run('find', store, '-type', 'f', '-printf', '%s\n').trim().split('\n');
  return sizes.reduce((sum, size) => sum + Number(size), 0);
}

test('info of a plain EROFS image: what can be known, null for the rest', () => {
  const info = JSON.parse(output('--json', 'info', plain)) as Record<string, unknown>;
  assert.equal((info['digests'] as Record<string, unknown>)['sha256'], digestOfFile(plain));
  assert.deepEqual([info['kind'], info['version'], info['entries'], info['objects']], ['erofs', null, null, null]);
  assert.match(output('info', plain), /^kind +plain EROFS\n[^]*\ncontents +not read: /);
});

for (const words of [
  ['ls', plain],
  ['dump', plain],
  ['objects', plain],
  ['verify', plain, '/'],
]) {
  test(`${words[0]} of a plain EROFS image: not possible, and what is`, () => {
    const { status, stdout, stderr } = cfsctl(...words);
    assert.deepEqual([status, stdout], [1, '']);
    assert.match(stderr, /^cfsctl: .*plain EROFS image; only [^]*\n {2}hint: .*dump\.erofs/);
  });
}

test('ls of the sample has every entry of the archive, with its mode, owner, size, time and target', { skip }, () => {
  const reference = join(scratch, 'reference');
  mkdirSync(reference);
  run('tar', '-C', reference, '--numeric-owner', '-xpzf', join(SHARED, 'sample/root.tar.gz'));
  const format = '%M %U %G %s %TY-%Tm-%Td %TH:%TM:%.2TS /%P -> %l\n';
  const wanted = run('find', join(reference, 'root'), '-mindepth', '1', '-printf', format).trimEnd().split('\n');
  const listed = output('ls', '-R', sample).trimEnd().split('\n');
  assert.equal(listed.length, 1353);
  assert.deepEqual(listed.map(fieldsOf).sort(), wanted.map(simplify).sort());
});

function fieldsOf(line: string): string {
  const [, mode, rest] = /^(\S+) +\d+ +(.*)$/.exec(line)!;
  return `${mode} ${rest!.replace(/ +/g, ' ')}`;
}

/** find(1) says the size of a directory, and an empty target of what is no link. */
function simplify(line: string): string {
  return line.replace(/ -> $/, '').replace(/^(d\S+ \d+ \d+) \d+/, '$1 -');
}

test('ls of a directory, a file, nothing', { skip }, () => {
  assert.match(output('ls', sample, '/bin'), /^-rwxr-xr-x .* busybox\n(l.* -> busybox\n)+/);
  assert.match(output('ls', sample, 'bin/busybox'), /^-rwxr-xr-x +1 +0 +0 +1982256 .* \/bin\/busybox\n$/);
  const { status, stdout, stderr } = cfsctl('ls', sample, '/bin/nope');
  assert.deepEqual(
    { status, stdout, stderr },
    { status: 1, stdout: '', stderr: 'cfsctl: no such path in the image: /bin/nope\n' },
  );
});

test('dump of the sample: writing it again gives the same image', { skip }, () => {
  const again = writeImage(parseDump(Buffer.from(output('dump', sample)), { strict: true }), 0);
  assert.ok(readFileSync(sample).equals(again));
});

for (const { name, dump, version } of goodVectors()) {
  test(`dump of the image of ${name}: writing it again gives the same image`, () => {
    const image = writeImage(parseDump(dump), version);
    const path = file('vector.cfs', image);
    const again = writeImage(parseDump(Buffer.from(output('dump', path), 'latin1')), version);
    assert.ok(Buffer.from(image).equals(again));
  });
}

test('dump stops when nobody reads on', { skip }, () => {
  const { status, stdout, stderr } = spawnSync('bash', ['-c', `set -o pipefail; '${CFSCTL}' dump '${sample}' | head -1`], {
    encoding: 'utf8',
  });
  assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: '/ 4096 40755 12 0 0 0 1767225600.0 - - -\n', stderr: '' });
});

test('objects of the sample are the files of its store, sorted by bytes; missing ones are those taken away', { skip }, () => {
  const files = run('find', store, '-type', 'f', '-printf', '%P\n').trimEnd().split('\n').sort();
  assert.equal(output('objects', sample), files.map((path) => `${path}\n`).join(''));
  assert.equal(output('objects', sample, '--missing', store), '');
  const part = join(scratch, 'part');
  run('cp', '-r', '--reflink=auto', store, part);
  const [first, , third] = files as [string, string, string];
  rmSync(join(part, first));
  rmSync(join(part, third));
  mkdirSync(join(part, third));
  assert.equal(output('objects', sample, '--missing', part), `${first}\n${third}\n`);
  const [entry] = JSON.parse(output('--json', 'objects', sample, '--missing', part)) as Record<string, string>[];
  assert.deepEqual(entry, { path: first, digest: `sha256:${first.replace('/', '')}`, size: entry!['size'] });
});

test('verify of the sample: all right; then one object missing, one cut, one changed', { skip }, () => {
  assert.equal(output('verify', sample, store), '902 objects, 6.0 MiB: all as the image says\n');
  const bad = join(scratch, 'bad');
  run('cp', '-r', '--reflink=auto', store, bad);
  const files = run('find', bad, '-type', 'f', '-size', '+1k', '-printf', '%P\n').trimEnd().split('\n').sort();
  const [gone, cut, changed] = files as [string, string, string];
  rmSync(join(bad, gone));
  truncateSync(join(bad, cut), 10);
  const bytes = readFileSync(join(bad, changed));
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(join(bad, changed), bytes);
  const { status, stdout, stderr } = cfsctl('verify', sample, bad);
  assert.deepEqual([status, stderr], [1, '']);
  const lines = stdout.split('\n');
  assert.equal(lines[0], `${gone}: is missing`);
  assert.match(lines[1]!, new RegExp(`^${cut}: has 10 bytes; the image says \\d+$`));
  assert.match(lines[2]!, new RegExp(`^${changed}: has the digest sha256:[0-9a-f]{64}; the image says sha256:`));
  assert.deepEqual(lines.slice(3), ['3 of 902 objects are not as the image says', '']);
  const json = JSON.parse(cfsctl('--json', 'verify', sample, bad).stdout) as {
    ok: boolean;
    faults: { path: string; fault: string }[];
  };
  assert.deepEqual(
    [json.ok, json.faults.map(({ path, fault }) => [path, fault])],
    [
      false,
      [
        [gone, 'missing'],
        [cut, 'wrong-size'],
        [changed, 'wrong-digest'],
      ],
    ],
  );
});

test('on a terminal there is a progress bar, which is gone at the end', { skip }, () => {
  const image = join(scratch, 'large.erofs');
  copyFileSync(plain, image);
  truncateSync(image, 2 ** 29);
  const { status, stdout } = spawnSync('script', ['-qec', `'${CFSCTL}' info '${image}'`, '/dev/null'], { encoding: 'utf8' });
  assert.equal(status, 0, stdout);
  const shown = stdout.replaceAll('\u001B[K', '<clear>');
  assert.match(shown, /\rhashing \[#*\.*\] +\d+% {2}[\d.]+ MiB of 512\.0 MiB<clear>/);
  assert.match(shown, /\r<clear>kind +plain EROFS/);
  const redirected = spawnSync(CFSCTL, ['info', image], { encoding: 'utf8' });
  assert.equal(redirected.stderr, '');
});
