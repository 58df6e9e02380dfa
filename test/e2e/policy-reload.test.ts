// The policy while the service runs: files that change are read by themselves, and trust that is taken back is seen on live mounts.
import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, beforeEach, test } from 'node:test';

import { connect } from '../../client/index.js';
import { type Actor, startActor } from '../support/actor.js';
import { type Daemon, eventually, startDaemon } from '../support/daemon.js';
import { addToRepository, makeErofs, policyText } from '../support/images.js';
import { makeScratch } from '../support/scratch.js';

/** A user that every Debian has, in a group of the same number. */
const UID = 2;
const scratch = makeScratch();
const repository = join(scratch.path, 'repository');
const image = join(scratch.path, 'image.erofs');
const digest = makeErofs(image, { 'hello.txt': 'hello\n' });
const otherDigest = makeErofs(join(scratch.path, 'other.erofs'), { 'other.txt': 'other\n' });
addToRepository(repository, image, 'base');
addToRepository(repository, join(scratch.path, 'other.erofs'), 'other');
const BELIEVED = `[[repository]]\npath = "${repository}"\nobjects = "trusted"\n`;
const TRUSTING = policyText({ digests: [digest], repositories: { [repository]: 'trusted' } });
let daemon: Daemon;
let actor: Actor | undefined;
let later: string;
let count = 0;

beforeEach(async () => {
  later = join(scratch.path, `later-${++count}`, 'policy.d');
  daemon = await startDaemon({ policy: TRUSTING, flags: ['--policy-dir', later, '--repo', repository] });
});
afterEach(async () => {
  await actor?.stop();
  actor = undefined;
  await daemon.stop();
});
after(() => scratch.remove());

function verdict(of = digest): string {
  using client = connect({ address: daemon.address });
  return client.checkImage(of).verdict;
}
const becomes = (expected: string, of = digest): Promise<void> =>
  eventually(`it becomes ${expected}`, () => verdict(of) === expected);
const reads = (): number => daemon.stderr().split('policy read again').length - 1;

test('a file that is written, replaced, removed or masked is read by itself', async () => {
  daemon.writePolicy(policyText({ digests: [otherDigest], repositories: { [repository]: 'trusted' } }));
  await becomes('deny');
  writeFileSync(join(daemon.directory, 'new'), TRUSTING);
  renameSync(join(daemon.directory, 'new'), join(daemon.directory, 'policy.d/test.toml'));
  await becomes('allow');
  mkdirSync(later, { recursive: true });
  symlinkSync('/dev/null', join(later, 'test.toml'));
  await becomes('deny');
  rmSync(join(later, '..'), { recursive: true });
  await becomes('allow');
  rmSync(join(daemon.directory, 'policy.d/test.toml'));
  await becomes('deny');
  assert.ok(daemon.audits().some(({ method, verdict: outcome }) => method === 'file watch' && outcome === 'allow'));
});

test('a file that is written piece by piece: as long as it is broken the old policy stays, and the log says what to mend', async () => {
  const file = join(daemon.directory, 'policy.d/test.toml');
  const text = policyText({ digests: [digest, otherDigest], repositories: { [repository]: 'trusted' } });
  writeFileSync(file, text.slice(0, -10));
  await daemon.eventually('it is read and refused', () => daemon.stderr().includes('the old one stays'));
  assert.deepEqual([verdict(), verdict(otherDigest)], ['allow', 'deny']);
  const refused = daemon.audits().find(({ method }) => method === 'file watch');
  assert.deepEqual([refused?.['verdict'], refused?.['error']], ['deny', 'Failed']);
  assert.match(String(refused?.['reason']), /test\.toml:\d+: not valid TOML/);
  writeFileSync(file, text);
  await becomes('allow', otherDigest);
});

test('many changes at once are read once, and a reload that was asked for is not read again; what is no policy file is no change', async () => {
  for (let i = 0; i < 50; i++) writeFileSync(join(daemon.directory, 'policy.d', `${i}.toml`), '# nothing\n');
  await daemon.eventually('they are read', () => reads() > 0);
  assert.equal(reads(), 1);
  daemon.writePolicy('');
  {
    using client = connect({ address: daemon.address });
    client.reload();
  }
  writeFileSync(join(daemon.directory, 'policy.d', 'README'), 'x');
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  assert.equal(daemon.stderr().split('"file watch"').length - 1, 1);
});

async function mount(name: string, groups: number[] = []): Promise<void> {
  actor = await startActor({ uid: UID, groups });
  await actor.do(
    ({ client, store }, { address, name }) => {
      const connection = client.connect({ address });
      store['mount'] = connection.mountImage(name).mount;
      connection.close();
    },
    { address: daemon.address, name },
  );
}

function trustOfMounts(): boolean[] {
  using client = connect({ address: daemon.address });
  return client.listMounts().map(({ trusted }) => trusted);
}

function load(policy: string): void {
  daemon.writePolicy(policy);
  using client = connect({ address: daemon.address });
  client.reload();
}
const revoked = () => daemon.audits().filter(({ verdict: outcome }) => outcome === 'revoked');

test('trust taken back: the mount is marked and lives on, one audit line names it, and trust given again takes the mark away', async () => {
  await mount('base');
  assert.deepEqual(trustOfMounts(), [true]);
  const NOTHING = policyText({ digests: [otherDigest], repositories: { [repository]: 'trusted' } });
  load(NOTHING);
  load(`${NOTHING}\n# again`);
  assert.deepEqual(trustOfMounts(), [false]);
  await daemon.eventually('it is in the log', () => revoked().length > 0);
  assert.equal(revoked().length, 1);
  const [line] = revoked();
  assert.deepEqual([line?.['uid'], line?.['digest'], line?.['rule'], line?.['mount']], [UID, digest, 'test', '1']);
  const text = await actor!.do(({ file, store }) => {
    const fd = file.openWithin(store['mount'] as never, 'hello.txt', file.O_RDONLY);
    const bytes = new Uint8Array(6);
    file.readAt(fd, bytes, 0);
    return String.fromCharCode(...bytes);
  }, null);
  assert.equal(text, 'hello\n');
  load(TRUSTING);
  assert.deepEqual(trustOfMounts(), [true]);
  load(NOTHING);
  await daemon.eventually('it is named again', () => revoked().length === 2);
});

test('trust taken back by a deny rule, by a date, from a user, and from a group as the host knows it', async () => {
  await mount('base', [UID]);
  const rule = (more: string) => `${BELIEVED}[[rule]]\nname = "test"\ndigests = ["${digest}"]\n${more}`;
  const cases: [policy: string, trusted: boolean][] = [
    [rule(`groups = [${UID}]`), true],
    [rule('groups = [4761]'), false],
    [rule(`users = [${UID}]`), true],
    [rule('users = [4761]'), false],
    [rule('not-after = 2020-01-01'), false],
    [rule(''), true],
    [rule(`[[rule]]\nname = "no"\ndeny = true\nusers = [${UID}]`), false],
  ];
  for (const [policy, trusted] of cases) {
    load(policy);
    assert.deepEqual(trustOfMounts(), [trusted], policy);
  }
});

test('a rule for names: who asks by name may mount, who asks by digest or hands the file in may not; a name that leads elsewhere takes trust back', async () => {
  load(`${BELIEVED}[[rule]]\nname = "names"\nrepository = "${repository}"\nnames = ["ba*"]\n`);
  await mount('base');
  assert.deepEqual([trustOfMounts(), verdict(), verdict(otherDigest)], [[true], 'deny', 'deny']);
  {
    using client = connect({ address: daemon.address });
    assert.deepEqual([client.checkImage('base').rule, client.checkImage('other').verdict], ['names', 'deny']);
    assert.match(client.checkImage(digest).considered.join(), /is for images found by name in /);
  }
  const refused = await actor!.do(
    ({ client, file }, { address, path }) => {
      const connection = client.connect({ address });
      const fd = file.openPath(path, file.O_RDONLY);
      try {
        connection.mountFile(fd, []);
        return 'mounted';
      } catch (error) {
        return (error as { code: string }).code;
      }
    },
    { address: daemon.address, path: image },
  );
  assert.equal(refused, 'NotTrusted');
  rmSync(join(repository, 'images/refs/base'));
  symlinkSync(`../${otherDigest.slice(7)}`, join(repository, 'images/refs/base'));
  try {
    assert.deepEqual(trustOfMounts(), [false]);
    using client = connect({ address: daemon.address });
    assert.equal(client.checkImage('base').digest, otherDigest);
  } finally {
    rmSync(join(repository, 'images/refs/base'));
    symlinkSync(`../${digest.slice(7)}`, join(repository, 'images/refs/base'));
  }
});

test('a list of digests beside the files, and a limit of names', async () => {
  writeFileSync(join(daemon.directory, 'policy.d/team.list'), `# ours\n${digest} # base\n`);
  load(`${BELIEVED}[[rule]]\nname = "listed"\ndigest-file = "team.list"\nmax-entries = 2\n`);
  assert.equal(verdict(), 'allow');
  using client = connect({ address: daemon.address });
  assert.equal(client.status().policy.digests, 1);
  load(`${BELIEVED}[[rule]]\nname = "listed"\ndigest-file = "team.list"\nmax-entries = 1\n`);
  assert.equal(client.checkImage(digest).because, 'the image has 2 names, and rule "listed" says max-entries = 1');
  writeFileSync(join(daemon.directory, 'policy.d/team.list'), '# none\n');
  await eventually('the list is read', () => client.checkImage(digest).because.includes('is not trusted'));
});
