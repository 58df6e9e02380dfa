// Row 27: mistakes in policy files, and files that others could change. Needed: files, directories and all above them are root's and no links
// (policy/files/read-policy.ts, policy/files/directories.ts, core/kernel/trusted-path.ts), the schemas are strict (policy/schema.ts), one problem
// refuses all files (policy/load.ts), and a reload replaces the policy as a whole or not at all (daemon/policy-holder.ts).
import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';

import { connect } from '../../client/index.js';
import { type Daemon, startDaemon } from '../support/daemon.js';
import { addToRepository, makeErofs, policyText } from '../support/images.js';
import { DIST, run } from '../support/machine.js';
import { runAs } from '../support/run-as.js';
import { makeScratch } from '../support/scratch.js';

const STRANGER = 4760;
const scratch = makeScratch();
const repository = join(scratch.path, 'repository');
let daemon: Daemon;
/** In each mistake there is a rule that would trust the other image. */
let other: string;
let trusted: string;
let bad: string;
let directory: string;

before(async () => {
  const make = (name: string): string => {
    const image = join(scratch.path, name);
    makeErofs(image, { name });
    return addToRepository(repository, image, name);
  };
  [trusted, other] = [make('trusted'), make('other')];
  daemon = await startDaemon({ policy: policyText({ digests: [trusted], repositories: { [repository]: 'trusted' } }) });
  directory = join(daemon.directory, 'policy.d');
  bad = join(directory, 'bad.toml');
});
after(async () => {
  await daemon?.kill();
  scratch.remove();
});
/** The log of the daemon comes through a pipe, which has to be read now and then. */
const readLog = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

afterEach(async () => {
  await readLog();
  chmodSync(directory, 0o755);
  chownSync(directory, 0, 0);
  chmodSync(join(directory, '..'), 0o755);
  chmodSync(repository, 0o755);
  for (const name of ['bad.toml', 'bad.list', 'good.toml']) rmSync(join(directory, name), { recursive: true, force: true });
  reload();
});

/** What stood against a reload; undefined if nothing did. */
function reload(): string | undefined {
  using client = connect({ address: daemon.address });
  try {
    client.reload();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

function verdicts(): { trusted: string; other: string } {
  using client = connect({ address: daemon.address });
  return { trusted: client.checkImage(trusted).verdict, other: client.checkImage(other).verdict };
}
const OLD = { trusted: 'allow', other: 'deny' };

const loose = (): string => `[[rule]]\nname = "loose"\ndigests = ["${other}"]\n`;
const write = (text: string): void => writeFileSync(bad, text);

/** Where the message points: `bad:4` for line 4 of the bad file. `mend`: what it says to do. */
const mistakes: readonly (readonly [what: string, make: () => void, where: string, mend: RegExp])[] = [
  ['writable by everybody', () => (write(loose()), chmodSync(bad, 0o646)), 'bad:1', /chmod go-w/],
  ['writable by a group', () => (write(loose()), chmodSync(bad, 0o664)), 'bad:1', /chmod go-w/],
  ['belongs to somebody else', () => (write(loose()), chownSync(bad, STRANGER, 0)), 'bad:1', /chown root/],
  ['the directory is writable by everybody', () => (write(loose()), chmodSync(directory, 0o777)), 'dir:1', /chmod go-w/],
  ['the directory belongs to somebody else', () => (write(loose()), chownSync(directory, STRANGER, 0)), 'dir:1', /chown root/],
  [
    'a directory above is writable by everybody',
    () => (write(loose()), chmodSync(join(directory, '..'), 0o777)),
    'dir:1',
    /writable by others/,
  ],
  [
    'a link out of the directory',
    () => (writeFileSync(join(scratch.path, 'out'), loose()), symlinkSync(join(scratch.path, 'out'), bad)),
    'bad:1',
    /put the file itself there/,
  ],
  ['a link to another file of it', () => symlinkSync('test.toml', bad), 'bad:1', /put the file itself there/],
  ['a link that leads nowhere', () => symlinkSync('/no/such/file', bad), 'bad:1', /put the file itself there/],
  ['a directory', () => mkdirSync(bad), 'bad:1', /remove it/],
  ['a FIFO', () => void run('mkfifo', bad), 'bad:1', /remove it/],
  [
    'not UTF-8',
    () => writeFileSync(bad, Buffer.concat([Buffer.from(loose()), Buffer.from([0xff])])),
    'bad:1',
    /save it as UTF-8/,
  ],
  ['a byte-order mark', () => write(`\ufeff${loose()}`), 'bad:1', /plain UTF-8/],
  ['NUL bytes, as after a crash', () => write(`${loose()}${'\0'.repeat(512)}`), 'bad:4', /plain UTF-8/],
  ['larger than 1 MiB', () => write(`${loose()}# ${'x'.repeat(2 ** 20)}`), 'bad:1', /split it/],
  ['cut short in a text', () => write(loose().slice(0, 20)), 'bad:2', /write the whole file again/],
  ['cut short in a digest', () => write(loose().slice(0, -30)), 'bad:3', /write the whole file again/],
  ['an unknown table', () => write(`[policy]\nx = 1\n${loose()}`), 'bad:1', /unknown key "policy"/],
  ['an unknown key', () => write(`${loose()}user = ["root"]\n`), 'bad:4', /did you mean "users"\?/],
  [
    'a key with an underscore',
    () => write(`${loose()}not_after = 2020-01-01T00:00:00Z\n`),
    'bad:4',
    /is a offset-date-time|not-after/,
  ],
  ['the same key twice', () => write(`${loose()}name = "y"\n`), 'bad:4', /not valid TOML/],
  ['a rule of this name is there', () => write(loose().replace('loose', 'test')), 'bad:1', /rename one of the two/],
  [
    'the same repository twice',
    () => write(`${loose()}\n[[repository]]\npath = "${repository}"\nobjects = "verity"\n`),
    'bad:5',
    /keep one/,
  ],
  [
    'limits twice',
    () => (writeFileSync(join(directory, 'aaa.toml'), '[limits]\n'), write(`${loose()}[limits]\n`)),
    'bad:4',
    /keep one/,
  ],
  ['an unknown user', () => write(`${loose()}users = ["no-such-user"]\n`), 'bad:4', /create the user first, or write its id/],
  ['an unknown group', () => write(`${loose()}groups = ["no-such-group"]\n`), 'bad:4', /create the group first, or write its id/],
  ['an id in quotes', () => write(`${loose()}users = ["4760"]\n`), 'bad:4', /write an id without quotes/],
  ['an id below zero', () => write(`${loose()}users = [-1]\n`), 'bad:4', /from 0 to 4294967294/],
  ['nobody: an empty list', () => write(`${loose()}users = []\n`), 'bad:4', /leave users out/],
  ['true as text', () => write(`${loose()}nosuid = "true"\n`), 'bad:4', /write nosuid = true/],
  ['deny = false', () => write(`${loose()}deny = false\n`), 'bad:4', /write deny = true/],
  [
    'a rule that denies by name',
    () => write(`${loose()}[[rule]]\nname = "d"\ndeny = true\nrepository = "${repository}"\n`),
    'bad:7',
    /take repository out/,
  ],
  ['an upper-case digest', () => write(loose().replace(other.slice(7), other.slice(7).toUpperCase())), 'bad:3', /lower case/],
  ['a short digest', () => write(loose().replace(other, other.slice(0, -1))), 'bad:3', /as "fsverity digest IMAGE" prints it/],
  ['an allowed rule without image', () => write(`${loose()}[[rule]]\nname = "all"\n`), 'bad:4', /write digests/],
  ['a date without a zone', () => write(`${loose()}not-after = 2020-01-01T00:00:00\n`), 'bad:4', /2020-01-01T00:00:00Z/],
  ['a date that is none', () => write(`${loose()}not-after = "2026-02-30"\n`), 'bad:4', /2027-01-31/],
  ['signature = false', () => write(`${loose()}signature = false\n`), 'bad:4', /signature is not true/],
  ['an action of polkit that is none', () => write(`${loose()}polkit = "mount image"\n`), 'bad:4', /write polkit = "org/],
  [
    "names of a repository that is not root's alone",
    () => write(`${loose()}[[rule]]\nname = "n"\nrepository = "/srv"\n`),
    'bad:6',
    /objects = "trusted"/,
  ],
  [
    'a repository that is not there',
    () => write(`${loose()}[[repository]]\npath = "/no/such"\nobjects = "verity"\n`),
    'bad:4',
    /create it/,
  ],
  [
    'a trusted repository that others can write',
    () => (write(loose()), chmodSync(repository, 0o777)),
    'test.toml:',
    /chmod go-w/,
  ],
  ['a list that is not there', () => write(`${loose()}[[rule]]\nname = "l"\ndigest-file = "bad.list"\n`), 'bad:6', /create it/],
  [
    'a list that others can write',
    () => (
      write(`${loose()}[[rule]]\nname = "l"\ndigest-file = "bad.list"\n`),
      writeFileSync(join(directory, 'bad.list'), other),
      chmodSync(join(directory, 'bad.list'), 0o666)
    ),
    'bad.list:1',
    /chmod go-w/,
  ],
  [
    'a list that is a link',
    () => (
      write(`${loose()}[[rule]]\nname = "l"\ndigest-file = "bad.list"\n`),
      symlinkSync('/etc/passwd', join(directory, 'bad.list'))
    ),
    'bad.list:1',
    /put the file itself there/,
  ],
  [
    'a list cut short',
    () => (
      write(`${loose()}[[rule]]\nname = "l"\ndigest-file = "bad.list"\n`),
      writeFileSync(join(directory, 'bad.list'), `${other}\n${other.slice(0, 30)}`)
    ),
    'bad.list:2',
    /as "fsverity digest IMAGE" prints it/,
  ],
  [
    'a good file beside a broken one',
    () => (writeFileSync(join(directory, 'good.toml'), loose()), write('x')),
    'bad:1',
    /not valid TOML/,
  ],
];

for (const [what, make, where, mend] of mistakes) {
  test(`refused as a whole, and the old policy stays: ${what}`, () => {
    make();
    const message = reload() ?? 'the policy was taken';
    rmSync(join(directory, 'aaa.toml'), { force: true });
    const place = where.replace(/^bad:/, `${bad}:`).replace(/^dir:/, `${directory}:`);
    assert.ok(message.startsWith('the policy was not replaced: '), message);
    assert.ok(message.includes(place), `${message} has no ${place}`);
    assert.match(message, mend);
    assert.deepEqual(verdicts(), OLD);
  });
}

test('refused at the start, too, with the place and the mend on standard error', () => {
  for (const [what, make, , mend] of mistakes.slice(0, 12)) {
    make();
    const flags = [
      '--policy-dir',
      directory,
      '--state-dir',
      join(scratch.path, 'state'),
      '--socket',
      join(scratch.path, 'socket'),
    ];
    const { status, stderr } = runAs(0, [join(DIST, 'cfsmountd'), ...flags, '--bus', 'none']);
    assert.deepEqual([status, mend.test(stderr)], [1, true], `${what}: ${stderr}`);
    rmSync(bad, { recursive: true, force: true });
    chmodSync(directory, 0o755);
    chownSync(directory, 0, 0);
    chmodSync(join(directory, '..'), 0o755);
  }
});

test('half-written: of a file at each of its lengths, nothing is trusted that the whole does not trust, and what is refused changes nothing', async () => {
  const whole = `${loose()}users = [1]\n\n[[rule]]\nname = "two"\ndigests = [\n  "${other}",\n]\ngroups = [1]\n`;
  let refused = 0;
  for (let length = 0; length < whole.length; length += 3) {
    await readLog();
    write(whole.slice(0, length));
    if (reload() !== undefined) refused++;
    const cutAfterDigests = /\]\n(users? ?=? ?|\n\[?|group?s? ?=? ?)?$/.test(whole.slice(0, length));
    if (!cutAfterDigests) assert.deepEqual(verdicts(), OLD, whole.slice(0, length));
  }
  assert.ok(refused > 50, String(refused));
});

test('a file that takes the place of another: of two directories the later counts, and a link to /dev/null takes it out', () => {
  const later = join(scratch.path, 'later');
  mkdirSync(later, { recursive: true });
  const check = () => runAs(0, [join(DIST, 'cfsctl'), 'policy', 'show', '--policy-dir', directory, '--policy-dir', later]).stdout;
  write(loose());
  assert.match(check(), /loose/);
  writeFileSync(join(later, 'bad.toml'), loose().replace('loose', 'strict'));
  assert.match(check(), /strict/);
  assert.doesNotMatch(check(), /loose/);
  rmSync(join(later, 'bad.toml'));
  symlinkSync('/dev/null', join(later, 'bad.toml'));
  assert.doesNotMatch(check(), /loose|strict/);
  assert.match(check(), /test/);
});
