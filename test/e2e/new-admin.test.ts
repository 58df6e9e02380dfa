// cfsmountd-policy(5), "EXAMPLES", as somebody would try it who has read nothing else: its very commands, and its very files, on a host of their own.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { makeErofs } from '../support/images.js';
import { DIST, requirePrivileges, ROOT } from '../support/machine.js';
import { makeScratch } from '../support/scratch.js';

const scratch = makeScratch();
after(() => scratch.remove());

/** The displays of a subsection, without mdoc's escapes. */
function displaysOf(subsection: string): string[] {
  const page = readFileSync(join(ROOT, 'man/cfsmountd-policy.5'), 'utf8');
  const section = page.split(/^\.S[sh] /m).find((text) => text.startsWith(`${subsection}\n`));
  assert.ok(section, subsection);
  return [...section.matchAll(/^\.Bd .*\n([^]*?)\n\.Ed$/gm)].map((match) => match[1]!.replaceAll('\\e', '\\'));
}

/**
 * A host in a mount namespace: a copy of /etc with users alice (of the group team) and bob, nothing in /run, /srv and /var/lib, and a daemon started without any
 * option but that there is no bus. `script` runs in a directory with base.erofs.
 */
function onHost(script: string): { status: number | null; stdout: string; stderr: string } {
  requirePrivileges();
  const [etc, home] = [join(scratch.path, 'etc'), join(scratch.path, 'home')];
  const host = `set -e
    rm -rf ${etc} ${home}; cp -a /etc ${etc}; mkdir -p ${home}; cp ${join(scratch.path, 'base.erofs')} ${home}
    mount --bind ${etc} /etc; for directory in /run /srv /var/lib; do mount -t tmpfs -o mode=755 host $directory; done
    rm -rf /etc/cfsmountd; mkdir -p /srv/images/objects
    echo 'team:x:4801:alice' >>/etc/group
    printf '%s\\n' 'alice:x:4802:4802::/:/bin/sh' 'bob:x:4803:4803::/:/bin/sh' >>/etc/passwd
    cd ${home}; PATH=${DIST}:$PATH
    cfsmountd --bus none 2>log & daemon=$!
    trap 'kill $daemon; wait $daemon' EXIT
    for i in $(seq 200); do [ -e /run/cfsmountd/socket ] && break; sleep 0.05; done
    set +e
    ${script}`;
  const { status, stdout, stderr, error } = spawnSync('unshare', ['-m', '--propagation', 'private', 'bash', '-c', host], {
    encoding: 'utf8',
    timeout: 60_000,
    env: { PATH: process.env['PATH'] },
  });
  if (error) throw error;
  return { status, stdout, stderr };
}

/** Runs each command, and returns its exit status and what it prints, both ways. */
function tryOut(commands: readonly string[]): { status: number; output: string }[] {
  const script = commands.map((command) => `${command} 2>&1; echo "=== $?"`).join('\n');
  const { stdout, stderr } = onHost(script);
  const parts = stdout.split(/^=== (\d+)\n/m);
  assert.equal(parts.length, 2 * commands.length + 1, `${stdout}${stderr}`);
  return commands.map((_, i) => ({ output: parts[2 * i]!, status: Number(parts[2 * i + 1]) }));
}

test('an image is trusted for a group, refused to somebody else, and taken back: the commands of the manual page', () => {
  const digest = makeErofs(join(scratch.path, 'base.erofs'), { 'hello.txt': 'hello\n' });
  const [first, second] = displaysOf("A team's images");
  const commands = `${first}\n${second}`.split('\n');
  const expected: [start: string, status: number, ...says: RegExp[]][] = [
    ['cfsctl policy trust', 0, new RegExp(digest), /for +group team/, /\/etc\/cfsmountd\/policy\.d\/trusted-team-base\.toml/],
    ['runuser -u alice', 0, /^allowed/, /rule +team-base/],
    ['runuser -u bob', 1, /no image is trusted for uid 4803\n +hint: ask the administrator/],
    ['cfsctl policy test --user bob', 1, /^denied/, /team-base +does not apply to the caller +\/etc\/.*:2/],
    ['cfsctl policy show', 0, /rule +team-base/, /for +group team \(4801\)/, /trusted-team-base\.toml:2/],
    ['cfsctl policy untrust', 0, /^$/],
    ['runuser -u alice', 1, /no image is trusted for uid 4802\n +hint: ask the administrator/],
    ['cfsctl mounts', 0, /^ID /],
    ['cfsctl log --denied', 1],
  ];
  assert.deepEqual(
    commands.map((command, i) => command.startsWith(expected[i]![0])),
    expected.map(() => true),
  );
  // This host keeps no journal: its log is a file.
  const outcomes = tryOut(commands.map((command) => command.replace(/^cfsctl log .*/, '$& log')));
  for (const [i, [, status, ...says]] of expected.entries()) {
    const { output, status: actual } = outcomes[i]!;
    const isLog = commands[i]!.startsWith('cfsctl log');
    assert.equal(actual, isLog ? 0 : status, `${commands[i]}\n${output}`);
    for (const pattern of says) assert.match(output, pattern);
    if (isLog) assert.deepEqual(output.match(/^.* (alice|bob) +CheckFile +deny .*$/gm)?.length, 2, output);
  }
});

test('a mount that lives when trust is taken back is marked for its owner', () => {
  makeErofs(join(scratch.path, 'base.erofs'), { 'hello.txt': 'hello\n' });
  const inside = `cfsctl mount ./base.erofs /mnt && cat /mnt/hello.txt && : >mounted && while [ ! -e taken ]; do sleep 0.05; done; cfsctl mounts`;
  const { stdout, stderr } = onHost(`chmod 777 .
    cfsctl policy trust ./base.erofs --name team-base --group team >/dev/null
    runuser -u alice -- unshare -Urm sh -c '${inside}' & owner=$!
    for i in $(seq 200); do [ -e mounted ] && break; sleep 0.05; done
    cfsctl policy untrust team-base; : >taken; wait $owner`);
  assert.match(stdout, /^hello\nID .* TRUST\n1 .* erofs +no longer trusted\n$/, stderr);
});

/** Policy files of the page, and what this version says of them. */
const FILES: readonly (readonly [subsection: string, says: RegExp])[] = [
  ["A team's images", /^2 rules: all is well\n$/],
  ["A whole host's signed images", /^1 rule: all is well\n$/],
  ['One user, one image', /^1 rule: all is well\n$/],
];
for (const [subsection, says] of FILES) {
  test(`the policy file of the manual page: ${subsection}`, () => {
    makeErofs(join(scratch.path, 'base.erofs'), { x: 'x' });
    const file = displaysOf(subsection).find((text) => text.includes('[[rule]]'))!;
    writeFileSync(join(scratch.path, 'example.toml'), `${file}\n`);
    const copy = `mkdir -p /etc/cfsmountd/policy.d && cp ${join(scratch.path, 'example.toml')} /etc/cfsmountd/policy.d/team.toml`;
    const [, outcome] = tryOut([copy, 'cfsctl policy validate']);
    assert.match(outcome!.output, says);
    assert.equal(outcome!.status, 0);
  });
}
