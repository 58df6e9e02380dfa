import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { dumpLines } from '../../core/image/dump-writer.js';
import { O_DIRECTORY, O_RDONLY, makeDirectoryAt, openEntry, openPath } from '../../core/kernel/file.js';
import { bind } from '../../core/kernel/libc.js';
import { RequestError } from '../../core/wire/errors.js';
import { buildTree } from './build-tree.js';
import { RANGE, createFileHasher } from './file-hasher.js';
import { type ScanOptions, scanTree } from './scan-tree.js';
import { readScannedFile } from './scanned-file.js';
import { fileReaderOf } from './work.js';

const scratch = mkdtempSync(join(tmpdir(), 'cfsctl-scan-'));
const tree = join(scratch, 'tree');
const worker = new URL('file-worker.js', import.meta.url);
const server = createServer();
const setxattr = bind('setxattr', ['path', 'path', 'buffer', 'u64', 'int']);
const removexattr = bind('removexattr', ['path', 'path']);

function setXattr(file: string, key: string, value: string): void {
  setxattr(file, key, Buffer.from(value, 'latin1'), value.length, 0);
}

before(async () => {
  mkdirSync(join(tree, 'sub'), { recursive: true });
  writeFileSync(join(tree, 'empty'), '');
  writeFileSync(join(tree, 'small'), 's'.repeat(64));
  writeFileSync(join(tree, 'object'), 'o'.repeat(65));
  writeFileSync(Buffer.concat([Buffer.from(`${tree}/`), Buffer.from([0xff, 0x0a, 0x80])]), 'x');
  symlinkSync(Buffer.from([0x2e, 0x2f, 0xfe]), join(tree, 'symlink'));
  linkSync(join(tree, 'object'), join(tree, 'sub/again'));
  linkSync(join(tree, 'object'), join(tree, 'a-third'));
  execFileSync('mkfifo', [join(tree, 'fifo')]);
  await new Promise<void>((resolve) => server.listen(join(tree, 'socket'), resolve));
  setXattr(join(tree, 'object'), 'user.key', '\xff\0');
  setXattr(join(tree, 'sub'), 'user.dir', '');
  execFileSync('find', [tree, '!', '-type', 'l', '-exec', 'chmod', 'u=rwx,g=rx,o=', '{}', '+']);
  execFileSync('find', [tree, '-exec', 'touch', '-h', '-d', '1969-12-31T23:59:58.25Z', '{}', '+']);
});
after(() => {
  server.close();
  rmSync(scratch, { recursive: true });
});

const uid = process.getuid?.() ?? 0;
const gid = process.getgid?.() ?? 0;

async function dumpOf(options: ScanOptions, path = tree): Promise<string> {
  const { root } = await buildTree(path, options);
  return [...dumpLines(root)].join('');
}

/** Digest of 65 times the letter o, by fsverity(1). */
const O65 = 'e82622e611bdc83806f8d2914d231baad68ca85a89274e028cc6a11b0de0124b';
const payload = `${O65.slice(0, 2)}/${O65.slice(2)}`;

test('every kind of entry, names that are no UTF-8, times before 1970: each name is a node with nlink 1', async () => {
  const rest = (nlink = 1): string => `${nlink} ${uid} ${gid} 0 -2.250000000`;
  const object = `65 100750 ${rest()} ${payload} - ${O65} user.key=\\xff\\x00`;
  const lines = [
    `/ 4096 40750 ${rest(3)} - - -`,
    `/a-third ${object}`,
    `/empty 0 100750 ${rest()} - - -`,
    `/fifo 0 10750 ${rest()} - - -`,
    `/object ${object}`,
    `/small 64 100750 ${rest()} - ${'s'.repeat(64)} -`,
    `/socket 0 140750 ${rest()} - - -`,
    `/sub 44 40750 ${rest(2)} - - - user.dir=`,
    `/sub/again ${object}`,
    `/symlink 3 120777 ${rest()} ./\\xfe - -`,
    `/\\xff\\n\\x80 1 100750 ${rest()} - x -`,
  ];
  assert.deepEqual((await dumpOf({})).trimEnd().split('\n').slice(1), lines.slice(1));
});

const lineOf = (dump: string, path: string): string => dump.split('\n').find((line) => line.startsWith(`${path} `)) ?? '';

test('hard links stay links, the first name in the order of the tree carries the file, and nlink is what the file system counts', async () => {
  const dump = await dumpOf({ hardLinks: true });
  assert.match(lineOf(dump, '/a-third'), /^\/a-third 65 100750 3 /);
  assert.match(lineOf(dump, '/object'), /^\/object 65 @100750 3 .* \/a-third - -$/);
  assert.match(lineOf(dump, '/sub/again'), /^\/sub\/again 65 @100750 3 .* \/a-third - -$/);
  assert.match(lineOf(dump, '/small'), /^\/small 64 100750 1 /);
});

test('epoch: all times are zero, also that of the root', async () => {
  const dump = await dumpOf({ epoch: true });
  for (const line of dump.trimEnd().split('\n')) assert.equal(line.split(' ')[7], '0.0', line);
});

test('skipXattrs leaves all out', async () => {
  assert.doesNotMatch(await dumpOf({ skipXattrs: true }), /user\./);
});

test(
  'userXattrs leaves all out but user.*',
  { skip: uid === 0 ? false : 'trusted.* needs root; run as root by make test' },
  async () => {
    setXattr(join(tree, 'object'), 'trusted.key', 'x');
    assert.match(lineOf(await dumpOf({}), '/object'), /trusted\.key=x user\.key=/);
    assert.match(lineOf(await dumpOf({ userXattrs: true }), '/object'), /- [0-9a-f]{64} user\.key=\S+$/);
    removexattr(join(tree, 'object'), 'trusted.key');
  },
);

test('a tree deeper than the longest path', async () => {
  const deep = join(scratch, 'deep');
  mkdirSync(deep);
  let directory = openPath(deep, O_RDONLY | O_DIRECTORY);
  const levels = 1200;
  for (let level = 0; level < levels; level++) {
    makeDirectoryAt(directory, 'deep', 0o755);
    using above = directory;
    directory = openEntry(above, 'deep', O_RDONLY | O_DIRECTORY);
  }
  writeFileSync(`/proc/self/fd/${directory.raw}/object`, 'o'.repeat(65));
  directory.close();
  assert.match(await dumpOf({}, deep), new RegExp(`^${'/deep'.repeat(levels)}/object 65 .* ${payload} - ${O65}$`, 'm'));
  execFileSync('rm', ['-rf', deep]);
});

test('threads: the same tree as without, for many files and for a long one', async () => {
  const many = join(scratch, 'many');
  for (let d = 0; d < 10; d++) {
    mkdirSync(join(many, `${d}`), { recursive: true });
    for (let f = 0; f < 60; f++) writeFileSync(join(many, `${d}/${f}`), Buffer.alloc(d * 700 + f, d));
  }
  writeFileSync(join(many, 'long'), Buffer.alloc(5 * RANGE + 12_345, 'long'));
  setXattr(join(many, 'long'), 'user.long', '');
  const dumps: string[] = [];
  for (const options of [
    {},
    { workerScript: worker, threads: 2 },
    { workerScript: worker, threads: 3 },
    { workerScript: new URL('no-such.js', worker), threads: 2 },
  ]) {
    const { root } = await buildTree(many, options);
    dumps.push([...dumpLines(root)].join(''));
  }
  assert.equal(dumps[0]!.trimEnd().split('\n').length, 612);
  assert.match(lineOf(dumps[0]!, '/long'), /[0-9a-f]{64} user\.long=$/);
  for (const dump of dumps.slice(1)) assert.equal(dump, dumps[0]);
});

/** The beginning of a thread's script. */
const READY = "import { workerData } from 'node:worker_threads'; workerData.port.postMessage({ kind: 'ready' });";
const threadsThatFail: Readonly<Record<string, [script: string, says: RegExp]>> = {
  'ends with its first job': ["workerData.port.on('message', () => process.exit());", /ended before its time/],
  'ends before it has one': ['process.exit();', /^$|ended before its time/],
  'has a fault of its own': [
    "workerData.port.on('message', (order) => order === 'end' ? process.exit() : workerData.port.postMessage({ kind: 'failed', message: 'a fault' }));",
    /^a fault$/,
  ],
  'answers what was not asked': [
    "workerData.port.on('message', (order) => order === 'end' ? process.exit() : workerData.port.postMessage({ kind: 'synced' }));",
    /answered synced/,
  ],
};
for (const [what, [script, says]] of Object.entries(threadsThatFail)) {
  test(`a thread that ${what}: an error or the whole tree, and no waiting for ever`, { timeout: 30_000 }, async () => {
    const workerScript = join(scratch, `${what.replaceAll(' ', '-')}.mjs`);
    writeFileSync(workerScript, `${READY}\n${script}\n`);
    const many = join(scratch, 'many');
    // Time for the thread to come and take part.
    const onProgress = (): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 40);
    const message = await buildTree(many, { workerScript, threads: 2, onProgress }).then(
      () => '',
      (error: Error) => error.message,
    );
    assert.match(message, says);
  });
}

const CHANGED = { name: 'RequestError', code: 'Failed', message: /victim\/file changed while it was read/, hint: /snapshot/ };
const path = join(scratch, 'victim/file');
const other = join(scratch, 'other');

/** What somebody does to a file between the moment it was met and that it was read. */
const changes: Readonly<Record<string, () => void>> = {
  'it grows': () => appendFileSync(path, 'more'),
  'it shrinks': () => truncateSync(path, 99),
  'it is written over': () => writeFileSync(path, 'y'.repeat(100)),
  'it is touched': () => utimesSync(path, 1, 1),
  'its mode is changed': () => chmodSync(path, 0o600),
  'it gets another name': () => linkSync(path, other),
  'it is removed': () => unlinkSync(path),
  'another of the same size takes its place': () => {
    copyFileSync(path, other);
    renameSync(other, path);
  },
  'a symlink to the same bytes takes its place': () => {
    renameSync(path, other);
    symlinkSync(other, path);
  },
  'a FIFO takes its place': () => {
    unlinkSync(path);
    execFileSync('mkfifo', [path]);
  },
  'a directory takes its place': () => {
    unlinkSync(path);
    mkdirSync(path);
  },
  'a symlink takes the place of its directory, which stays': () => {
    renameSync(join(scratch, 'victim'), other);
    symlinkSync(other, join(scratch, 'victim'));
  },
};
for (const [what, change] of Object.entries(changes)) {
  test(`a file is met and then read, and meanwhile ${what}`, () => {
    for (const each of [join(scratch, 'victim'), other]) rmSync(each, { recursive: true, force: true });
    mkdirSync(join(scratch, 'victim'));
    writeFileSync(path, 'x'.repeat(100));
    using root = openPath(scratch, O_RDONLY | O_DIRECTORY);
    using victim = openPath(join(scratch, 'victim'), O_RDONLY | O_DIRECTORY);
    const surroundings = { root: root.raw, shown: scratch, algorithm: 'sha256', store: undefined, xattrs: {} } as const;
    const reader = fileReaderOf(surroundings, createFileHasher('sha256'), undefined);
    const read = (): unknown =>
      scanTree(victim, join(scratch, 'victim'), {}, ({ status }) => {
        change();
        readScannedFile(reader, { path: '/victim/file', size: 100, state: status.state });
      });
    assert.throws(read, CHANGED);
  });
}

test('a directory that gets another entry after it was listed', () => {
  const victim = join(scratch, 'growing');
  mkdirSync(join(victim, 'sub'), { recursive: true });
  writeFileSync(join(victim, 'sub/file'), 'x');
  using root = openPath(victim, O_RDONLY | O_DIRECTORY);
  const scan = (): unknown => scanTree(root, victim, {}, () => writeFileSync(join(victim, 'sub/new'), ''));
  assert.throws(scan, { message: /growing\/sub changed while it was read/ });
});

for (const [name, threads] of [
  ['one thread', 1],
  ['two threads', 2],
] as const) {
  test(`a long file that changes between its ranges, read by ${name}: an error, no object, and nothing left behind`, async () => {
    const victim = join(scratch, `long-${threads}`);
    mkdirSync(victim);
    writeFileSync(join(victim, 'file'), Buffer.alloc(12 * RANGE, 1));
    const { openObjectStore } = await import('./object-store.js');
    using store = openObjectStore(join(scratch, `store-${threads}`), { create: true });
    let changed = false;
    const onProgress = ({ complete }: { complete: boolean }): void => {
      if (complete && !changed) appendFileSync(join(victim, 'file'), 'x');
      changed ||= complete;
    };
    await assert.rejects(buildTree(victim, { store, onProgress, threads, workerScript: worker }), {
      message: /file changed while it was read/,
    });
    store.sync();
    assert.equal(execFileSync('find', [join(scratch, `store-${threads}`), '-mindepth', '1'], { encoding: 'utf8' }), '');
  });
}

test('a directory that is not there, or none', async () => {
  await assert.rejects(buildTree(join(scratch, 'nope')), {
    code: 'BadRequest',
    message: /the directory .*nope cannot be opened \(ENOENT\)/,
  });
  await assert.rejects(buildTree('/etc/passwd'), RequestError);
  assert.ok(readFileSync('/etc/passwd').length > 0);
});
