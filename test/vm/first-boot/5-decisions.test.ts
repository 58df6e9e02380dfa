// Decisions of the installed service: by the guest's polkit, which takes the process by its pidfd; and what its journal has of them.
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { addToRepository, makeErofs, policyText } from '../../support/images.js';
import { run } from '../../support/machine.js';
import { assertDone } from '../../support/outcome.js';
import { ALICE, BOB, inUnshare, writePolicy } from '../guest.js';

const REPOSITORY = '/srv/decisions';
const ACTION = 'org.composefs.mount1.mount-image';
const RULE = '/etc/polkit-1/rules.d/20-decisions.rules';
let digest: string;

before(() => {
  mkdirSync(`${REPOSITORY}/objects`, { recursive: true });
  digest = makeErofs('/var/tmp/decisions.erofs', { 'hello.txt': 'hello\n' });
  addToRepository(REPOSITORY, '/var/tmp/decisions.erofs', 'asked');
  writePolicy(policyText({ digests: [digest], repositories: { [REPOSITORY]: 'trusted' }, conditions: `polkit = "${ACTION}"\n` }));
  writeFileSync(
    RULE,
    `polkit.addRule(function (action, subject) {
  if (action.id == '${ACTION}' && subject.user == 'alice' && action.lookup('digest') == '${digest}') return polkit.Result.YES;
});\n`,
  );
  run('systemctl', 'restart', 'polkit');
});
after(() => rmSync(RULE));

const mount = (uid: number, flags = ''): ReturnType<typeof inUnshare> =>
  inUnshare(uid, `cfsctl ${flags} mount asked /mnt/m && cat /mnt/m/hello.txt`);

for (const [transport, flags] of [
  ['the socket', ''],
  ['the bus', '--address system'],
] as const) {
  test(`by ${transport}: who a rule of polkit names gets the mount, another is told that a password is needed`, () => {
    assertDone(mount(ALICE, flags), 'hello\n');
    const { status, stderr } = mount(BOB, flags);
    assert.equal(status, 1);
    assert.match(stderr, /rule "test" leaves the image to polkit, and nobody gave it a password/);
  });
}

interface Line {
  readonly uid: number;
  readonly verdict: string;
  readonly digest: string;
  readonly rule: string;
}

test('cfsctl log reads the journal: each decision once, the last ones last', () => {
  const lines = JSON.parse(run('cfsctl', '--json', 'log', '-n', '4')) as Line[];
  const told = lines.map((line) => [line.uid, line.verdict, line.digest, line.rule]);
  const twice = [
    [ALICE, 'allow', digest, 'test'],
    [BOB, 'deny', digest, 'test'],
  ];
  assert.deepEqual(told, [...twice, ...twice]);
  assert.match(run('cfsctl', 'log', '--denied', '-n', '1'), /bob +MountImage +deny +asked +test +.*polkit/);
});

test('in the journal a decision has fields of its own, and a refusal is notable', () => {
  const found = (...fields: string[]): Record<string, string>[] => {
    const text = run('journalctl', '--no-pager', '-b', '-u', 'cfsmountd', '-o', 'json', 'CFSMOUNTD_AUDIT=true', ...fields);
    return text
      .trim()
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, string>);
  };
  const denied = found('CFSMOUNTD_VERDICT=deny', `CFSMOUNTD_UID=${BOB}`, `CFSMOUNTD_DIGEST=${digest}`);
  assert.equal(denied.length, 2);
  assert.deepEqual([...new Set(denied.map(({ PRIORITY, CFSMOUNTD_RULE }) => `${PRIORITY} ${CFSMOUNTD_RULE}`))], ['5 test']);
});
