// What is in an image: the policy judges it, a check tells it, and it is found out once.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import type { ContentFacts } from '../../core/image/content-facts.js';
import type { CheckReport } from '../../client/index.js';
import { type Actor, startActor } from '../support/actor.js';
import { composefsOf, externalFile, objectOf, putObject } from '../support/composefs.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, digestOfFile } from '../support/images.js';
import { run } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';
import { factsOfTree, makeSourceTree } from '../support/source-tree.js';

const scratch = makeScratch();
const repository = join(scratch.path, 'repository');
const store = join(scratch.path, 'store');
const paths = {
  plain: join(scratch.path, 'plain.erofs'),
  tree: join(scratch.path, 'tree.cfs'),
  loose: join(scratch.path, 'loose.cfs'),
  unknown: join(scratch.path, 'unknown.cfs'),
};
let daemon: Daemon;
let actor: Actor;
let root: Actor;
let walked: ContentFacts;

const LINES = [
  '/cap 0 100755 1 7 0 0 0.0 - - - security.capability=x',
  externalFile('/one', 'the first object\n'),
  externalFile('/same', 'the first object\n'),
  externalFile('/two', 'the second object\n'),
  '/suid 3 104755 1 0 9 0 0.0 - abc -',
];

function writeImageFile(path: string, lines: readonly string[], damage?: (bytes: Uint8Array) => void): void {
  const bytes = composefsOf(lines);
  damage?.(bytes);
  writeFileSync(path, bytes);
  chmodSync(path, 0o644);
}

const rule = (name: string, path: string, more: string): string =>
  `[[rule]]\nname = "${name}"\ndigests = ["${digestOfFile(path)}"]\n${more}\n`;

function policyOf(plain: string, tree: string, loose: string): string {
  return [
    `[[repository]]\npath = "${repository}"\nobjects = "trusted"\n`,
    rule('plain', paths.plain, plain),
    rule('tree', paths.tree, tree),
    rule('loose', paths.loose, loose),
  ].join('\n');
}

before(async () => {
  makeSourceTree(join(scratch.path, 'source'), 30);
  walked = factsOfTree(join(scratch.path, 'source'));
  run('mkfs.erofs', '--quiet', paths.plain, join(scratch.path, 'source'));
  chmodSync(paths.plain, 0o644);
  writeImageFile(paths.tree, LINES);
  // The name filter of the root: a writer makes another, and every reader reads it.
  writeImageFile(paths.loose, LINES, (bytes) => (bytes[36 * 32 + 32] = (bytes[36 * 32 + 32] ?? 0) ^ 1));
  writeImageFile(paths.unknown, [...LINES, '/more 0 100644 1 0 0 0 0.0 - - -']);
  for (const directory of [join(repository, 'objects'), store]) mkdirSync(directory, { recursive: true });
  putObject(join(repository, 'objects'), objectOf('the first object\n').place, 'the first object\n');
  putObject(store, objectOf('the second object\n').place, 'the second object\n');
  for (const directory of [repository, store]) run('chmod', '-R', 'u=rwX,go=rX', directory);
  addToRepository(repository, paths.tree, 'tree');
  daemon = await startDaemon({ policy: policyOf('devices = "allow"', '', '') });
  actor = await startActor({ uid: 4731 });
  root = await startActor({ uid: 0, namespace: 'none' });
});
after(async () => {
  for (const one of [actor, root]) await one?.stop();
  await daemon?.stop();
  scratch.remove();
});

function check(who: Actor, image: { path?: string; name?: string; stores?: string[] }): Promise<CheckReport> {
  return who.do(
    ({ client, file }, { address, image }) => {
      const connection = client.connect({ address });
      const fd = image.path === undefined ? undefined : file.openPath(image.path, file.O_RDONLY);
      const stores = (image.stores ?? []).map((path) => file.openPath(path, file.O_RDONLY | file.O_DIRECTORY));
      try {
        return fd ? connection.checkFile(fd, stores) : connection.checkImage(image.name!);
      } finally {
        for (const one of [fd, ...stores]) one?.close();
        connection.close();
      }
    },
    { address: daemon.address, image },
  );
}

async function mount(path: string): Promise<string> {
  return await actor.do(
    ({ client, file }, { address, path, store }) => {
      const connection = client.connect({ address });
      const fd = file.openPath(path, file.O_RDONLY);
      const directory = store === null ? undefined : file.openPath(store, file.O_RDONLY | file.O_DIRECTORY);
      try {
        const { mount: received, result } = connection.mountFile(fd, directory ? [directory] : []);
        received.close();
        return result.rule;
      } catch (error) {
        const { code, message } = error as { code?: string; message: string };
        return `${code}: ${message}`;
      } finally {
        fd.close();
        directory?.close();
        connection.close();
      }
    },
    { address: daemon.address, path, store: path === paths.plain ? null : join(repository, 'objects') },
  );
}

test('a check of a plain image tells what a walk over its tree finds', async () => {
  const { entries, devices, setuid, setgid, fcaps, canonical, objects, missing, ...report } = await check(actor, {
    path: paths.plain,
  });
  assert.deepEqual(
    { entries, devices, setuid, setgid, fcaps, largestUid: report['largest-uid'], largestGid: report['largest-gid'] },
    {
      entries: walked.entries,
      devices: walked.devices,
      setuid: walked.setUid,
      setgid: walked.setGid,
      fcaps: walked.fileCapabilities,
      largestUid: walked.largestUid,
      largestGid: walked.largestGid,
    },
  );
  assert.ok(walked.devices > 0 && walked.fileCapabilities > 0, 'the tree has something to find');
  assert.deepEqual([canonical, objects, missing, report.verdict], [false, 0, undefined, 'allow']);
});

test('a check of a composefs image tells what is in it, and what is missing in the store it names', async () => {
  const expected = {
    entries: 6,
    devices: 0,
    setuid: 1,
    setgid: 0,
    fcaps: 1,
    'largest-uid': 7,
    'largest-gid': 9,
    canonical: true,
    objects: 2,
  };
  const ofImage = await check(actor, { name: 'tree' });
  assert.deepEqual({ ...ofImage, ...expected, missing: 1 }, ofImage);
  for (const [stores, missing] of [
    [[store], 1],
    [[store, join(repository, 'objects')], 0],
    [[join(scratch.path, 'source')], 2],
    [[], 1],
  ] as const) {
    // With stores of its own, which the kernel could not check here, the objects are counted all the same.
    const ofFile = await check(actor, { path: paths.tree, stores: [...stores] });
    assert.deepEqual({ ...ofFile, ...expected, missing }, ofFile, stores.join());
  }
});

test('an object that is a symlink, a directory or behind a symlinked directory is missing', async () => {
  const odd = join(scratch.path, 'odd');
  const [first, second] = ['the first object\n', 'the second object\n'].map((text) => objectOf(text).place);
  mkdirSync(join(odd, first!), { recursive: true });
  mkdirSync(join(odd, second!.slice(0, 2)), { recursive: true });
  run('ln', '-s', '/etc/passwd', join(odd, second!));
  assert.equal((await check(actor, { path: paths.tree, stores: [odd] })).missing, 2);
  rmSync(join(odd, first!.slice(0, 2)), { recursive: true });
  run('ln', '-s', join(repository, 'objects', first!.slice(0, 2)), join(odd, first!.slice(0, 2)));
  assert.equal((await check(actor, { path: paths.tree, stores: [odd] })).missing, 2);
});

test('what is in an image that nobody trusts is told to root alone', async () => {
  const ofUser = await check(actor, { path: paths.unknown });
  assert.equal(ofUser.verdict, 'deny');
  for (const key of ['entries', 'devices', 'canonical', 'objects', 'missing']) assert.ok(!(key in ofUser), key);
  const ofRoot = await check(root, { path: paths.unknown });
  assert.deepEqual([ofRoot.verdict, ofRoot.entries, ofRoot.objects, ofRoot.missing], ['deny', 7, 2, 1]);
});

test('conditions of rules hold for mounts and checks of both kinds, and say why', async () => {
  daemon.writePolicy(policyOf('', 'setuid = "deny"\nfcaps = "deny"', 'canonical = "deny"'));
  daemon.process.kill('SIGHUP');
  await daemon.eventually('the policy is read', () => daemon.stderr().includes('policy read again'));
  const because = {
    plain: `the image has ${walked.devices} device nodes, and rule "plain" says devices = "deny"`,
    tree: 'the image has 1 set-uid file and has 1 file with capabilities, and rule "tree" says setuid = "deny" and fcaps = "deny"',
    loose: 'the image is not in canonical form, and rule "loose" says canonical = "deny"',
  };
  for (const kind of ['plain', 'tree', 'loose'] as const) {
    const report = await check(actor, { path: paths[kind] });
    assert.deepEqual([report.verdict, report.because], ['deny', because[kind]]);
    assert.equal(await mount(paths[kind]), `NotTrusted: ${because[kind]}`);
  }
  const ofRoot = await check(root, { path: paths.loose });
  assert.deepEqual(ofRoot.considered, [
    'loose: the image is not in canonical form, and the rule says canonical = "deny"',
    'plain: does not list the digest',
    'tree: does not list the digest',
  ]);
  const reasons = daemon.audits().map(({ reason }) => reason);
  for (const reason of Object.values(because)) assert.ok(reasons.includes(reason), reason);
});

test('without these conditions they are mounted, the one that is not canonical too; canonical images pass the condition', async () => {
  const before = daemon.stderr().split('policy read again').length;
  daemon.writePolicy(policyOf('devices = "allow"', 'canonical = "deny"', ''));
  daemon.process.kill('SIGHUP');
  await daemon.eventually('the policy is read', () => daemon.stderr().split('policy read again').length > before);
  for (const kind of ['plain', 'tree', 'loose'] as const) assert.equal(await mount(paths[kind]), kind);
});
