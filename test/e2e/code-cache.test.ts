// Programs start by V8's code cache where it is theirs and fits, and as well without it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';

import { VERSION } from '../../core/wire/version.js';
import { ROOT, run } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';

const PROGRAMS = ['cfsctl', 'cfsmountd'] as const;
type Program = (typeof PROGRAMS)[number];

const scratch = makeScratch();
after(() => scratch.remove());

// Tells what V8 made of the cache a program brought: true, false, or undefined for none.
const witness = join(scratch.path, 'witness.cjs');
writeFileSync(
  witness,
  `const vm = require('node:vm');
vm.Script = class extends vm.Script {
  constructor(source, options) {
    super(source, options);
    if (/code.c/.test(options?.filename)) process.on('exit', () => require('node:fs').writeSync(2, 'rejected: ' + this.cachedDataRejected));
  }
};`,
);

let programs: string;
let count = 0;
beforeEach(() => {
  programs = join(scratch.path, `programs-${++count}`);
  cpSync(join(ROOT, 'dist'), programs, { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(programs, 'node_modules'));
});

function cacheOf(program: Program): string {
  const own = new RegExp(`^${program}-[0-9a-f]{16}\\.cache$`);
  const [name, ...others] = readdirSync(join(programs, 'code')).filter((entry) => own.test(entry));
  assert.ok(name !== undefined && others.length === 0);
  return join(programs, 'code', name);
}

/** Starts a program, which must work, and returns what V8 said of the cache. */
function start(program: Program, ...flags: string[]): string {
  const words = ['--require', witness, ...flags, join(programs, program), '--version'];
  const { status, stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  assert.deepEqual([status, stdout], [0, `${VERSION}\n`], stderr);
  return stderr.split('\n').at(-1)!; // above it, Node.js may warn of a flag
}

for (const program of PROGRAMS) {
  test(`${program}: the cache that was built with it is used`, () => {
    assert.equal(start(program), 'rejected: false');
  });

  const spoil: [what: string, spoil: (cache: string) => void, said: string][] = [
    ['there is none', (cache) => rmSync(cache), 'rejected: undefined'],
    ["it is another user's", (cache) => chownSync(cache, 4711, 0), 'rejected: undefined'],
    ['its group may write it', (cache) => chmodSync(cache, 0o664), 'rejected: undefined'],
    ['everybody may write it', (cache) => chmodSync(cache, 0o646), 'rejected: undefined'],
    [
      'it is a symbolic link',
      (cache) => (renameSync(cache, `${cache}-moved`), symlinkSync(`${cache}-moved`, cache)),
      'rejected: undefined',
    ],
    ['it was cut short', (cache) => truncateSync(cache, 4096), 'rejected: true'],
    ['it is empty', (cache) => truncateSync(cache, 0), 'rejected: true'],
    ['it is something else', (cache) => writeFileSync(cache, 'x'.repeat(100_000)), 'rejected: true'],
  ];
  for (const [what, change, said] of spoil) {
    test(`${program} starts without the cache: ${what}`, () => {
      change(cacheOf(program));
      assert.equal(start(program), said);
    });
  }

  test(`${program} starts without the cache of a V8 under other flags`, () => {
    assert.equal(start(program, '--jitless'), 'rejected: true');
  });
}

test('what cfsctl loads on demand comes by a cache as well', () => {
  const words = ['--require', witness, join(programs, 'cfsctl'), 'digest', witness];
  const { status, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  assert.deepEqual([status, stderr], [0, 'rejected: false'.repeat(2)]);
});

test('write-code-cache: writes what is missing, and clears away what belongs to no program', () => {
  const code = join(programs, 'code');
  const before = readdirSync(code).sort();
  rmSync(cacheOf('cfsctl'));
  writeFileSync(join(code, 'cfsctl-0123456789abcdef.cache'), 'of an older version');
  writeFileSync(join(code, 'cfsmountd-0123456789abcdef.cache.new'), 'of a run that was killed');
  run(process.execPath, join(programs, 'write-code-cache.cjs'));
  assert.deepEqual(readdirSync(code).sort(), before);
  assert.equal(start('cfsctl'), 'rejected: false');
});

test('when the caches are written anew, a program whose source was replaced does not run by the old one, even if it is as long', () => {
  const source = join(programs, 'code/cfsctl.cjs');
  const text = readFileSync(source, 'utf8');
  const changed = text.replaceAll(`"${VERSION}"`, '"9.9.9"');
  assert.equal(changed.length, text.length);
  writeFileSync(source, changed);
  run(process.execPath, join(programs, 'write-code-cache.cjs'));
  const { stdout } = spawnSync(join(programs, 'cfsctl'), ['--version'], { encoding: 'utf8' });
  assert.equal(stdout, '9.9.9\n');
});
