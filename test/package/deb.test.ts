// The .deb itself: what is in it, for which architecture, and what Debian's own checker says.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { run } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';
import { type Architecture, buildDeb } from './build-deb.js';

// elf.h: e_machine
const MACHINES: Readonly<Record<Architecture, number>> = { amd64: 62, arm64: 183 };
const NODE_NAMES: Readonly<Record<Architecture, string>> = { amd64: 'x64', arm64: 'arm64' };
const ARCHITECTURES = ['amd64', 'arm64'] as const;

const scratch = makeScratch();
const packages = new Map<Architecture, string>();
const unpacked = (architecture: Architecture): string => join(scratch.path, architecture);

before(() => {
  for (const architecture of ARCHITECTURES) {
    packages.set(architecture, buildDeb(architecture));
    mkdirSync(unpacked(architecture));
    run('dpkg-deb', '--extract', packages.get(architecture)!, unpacked(architecture));
  }
});
after(() => scratch.remove());

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

for (const architecture of ARCHITECTURES) {
  const field = (name: string): string => run('dpkg-deb', '--field', packages.get(architecture)!, name).trim();

  test(`${architecture}: fields`, () => {
    assert.equal(field('Architecture'), architecture);
    assert.match(field('Depends'), /nodejs \(>= 20\.18\), libc6 \(>= 2\.\d+\)/);
    assert.match(field('Built-Using'), /^glibc \(= 2\.\S+\)|^cross-toolchain-base \(= \d+\)/);
  });

  test(`${architecture}: native code is of this architecture, and only of it`, () => {
    const binaries = filesBelow(unpacked(architecture)).flatMap((path) => {
      const bytes = readFileSync(path);
      return bytes.subarray(0, 4).equals(Buffer.from('\x7fELF', 'latin1')) ? [{ path, machine: bytes.readUInt16LE(18) }] : [];
    });
    assert.deepEqual(
      binaries.map(({ machine }) => machine),
      [MACHINES[architecture], MACHINES[architecture]],
    );
    const koffi = join(unpacked(architecture), 'usr/lib/cfsmountd/node_modules/@koromix');
    assert.deepEqual(readdirSync(koffi), [`koffi-linux-${NODE_NAMES[architecture]}`]);
  });

  test(`${architecture}: everything is root's, and nobody else may write it`, () => {
    const lines = run('dpkg-deb', '--contents', packages.get(architecture)!).trimEnd().split('\n');
    assert.ok(lines.length > 40);
    for (const line of lines) assert.match(line, /^(l|[-d]rw[x-]r-[x-]r-[x-]) *\S* root\/root /, line);
  });

  test(`${architecture}: no code cache is in it: that is for the Node.js of the machine it is installed on`, () => {
    assert.deepEqual(
      filesBelow(unpacked(architecture)).filter((path) => path.includes('.cache')),
      [],
    );
  });

  test(`${architecture}: md5sums name every file, and rightly`, () => {
    run('dpkg-deb', '--control', packages.get(architecture)!, join(unpacked(architecture), 'DEBIAN'));
    const listed = readFileSync(join(unpacked(architecture), 'DEBIAN/md5sums'), 'utf8')
      .trimEnd()
      .split('\n');
    const files = filesBelow(unpacked(architecture)).filter((path) => !path.includes('/DEBIAN/'));
    assert.equal(listed.length, files.length);
    const { status, stderr } = spawnSync('md5sum', ['--check', '--quiet', 'DEBIAN/md5sums'], {
      cwd: unpacked(architecture),
      encoding: 'utf8',
    });
    assert.deepEqual([status, stderr], [0, '']);
  });

  test(`${architecture}: lintian finds no error, and no warning that is not answered`, () => {
    const words = ['--allow-root', '--fail-on', 'error,warning', packages.get(architecture)!];
    const { status, stdout, stderr } = spawnSync('lintian', words, { encoding: 'utf8' });
    assert.deepEqual([status, stdout], [0, ''], stderr);
  });
}

test('the same sources make the same bytes, at another time, in another zone, under another mask', () => {
  const first = readFileSync(packages.get('amd64')!);
  const env = { TZ: 'Asia/Kathmandu', LC_ALL: 'C.UTF-8', HOME: scratch.path };
  const script = 'umask 077; exec "$@"';
  const path = packages.get('amd64')!;
  const { status, stderr } = spawnSync('sh', ['-c', script, 'sh', 'tools/make-deb', 'amd64'], {
    env: { ...process.env, ...env },
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  assert.ok(first.equals(readFileSync(path)));
});
