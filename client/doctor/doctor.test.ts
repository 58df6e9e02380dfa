import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Finding } from './finding.js';
import { judgeNamespaces, judgeSubordinates } from './host.js';
import { judgeDriver, judgeVersion, usesCfsOverlay } from './podman.js';
import { judgeKernel } from './service.js';
import { attachedLayers, judgeAttached, judgeExported } from './store.js';

const alice = { uid: 1000, name: 'alice' };
const subids: [text: string | undefined, status: Finding['status'], says: RegExp, nsswitch?: string][] = [
  ['alice:100000:65536\n', 'ok', /^65536 /],
  ['1000:100000:65536\n', 'ok', /^65536 /],
  ['bob:1:65536\nalice:100000:1000\nalice:200000:64536\n', 'ok', /^65536 /],
  ['alice:100000:65535\n', 'warn', /^65535 subordinate ids, and images expect/],
  ['bob:100000:65536\n', 'fail', /no subordinate ids/],
  ['alice2:100000:65536\nxalice:1:65536\n', 'fail', /no subordinate ids/],
  ['alice:100000:many\n', 'fail', /no subordinate ids/],
  ['', 'fail', /no subordinate ids/],
  [undefined, 'fail', /no subordinate ids in \/etc\/subuid/],
  ['', 'warn', /not from files/, 'passwd: files\nsubid: sss\n'],
  ['', 'fail', /no subordinate ids/, 'subid: files\n'],
];
for (const [text, status, says, nsswitch] of subids) {
  test(`subordinate ids: ${JSON.stringify(text)}`, () => {
    const finding = judgeSubordinates('subuid', text, alice, nsswitch);
    assert.equal(finding.status, status);
    assert.match(finding.says, says);
    if (status === 'fail') assert.match(finding.mend!, /^sudo usermod --add-subuids .* alice /);
  });
}

test('user namespaces: by the settings of Linux, Debian and Ubuntu', () => {
  const judge = (settings: Record<string, string>): string => judgeNamespaces((name) => settings[name]).status;
  assert.equal(judge({}), 'ok');
  assert.equal(judge({ 'user/max_user_namespaces': '0' }), 'fail');
  assert.equal(judge({ 'user/max_user_namespaces': '15000', 'kernel/unprivileged_userns_clone': '1' }), 'ok');
  assert.equal(judge({ 'kernel/unprivileged_userns_clone': '0' }), 'fail');
  assert.equal(judge({ 'kernel/apparmor_restrict_unprivileged_userns': '1' }), 'warn');
});

test('podman: versions and storage drivers', () => {
  const version = (text: string): string => judgeVersion({ version: { Version: text } }).status;
  assert.deepEqual(['4.3.1', '5.4.2', '6.0.0-dev', '10.1.0'].map(version), ['ok', 'ok', 'ok', 'ok']);
  assert.deepEqual(['3.4.4', '4.2.9', 'unknown'].map(version), ['warn', 'warn', 'warn']);
  const driver = (graphDriverName: string): Finding =>
    judgeDriver({ version: { Version: '' }, store: { graphDriverName } } as never);
  assert.equal(driver('overlay').status, 'ok');
  assert.match(driver('vfs').mend!, /podman system reset/);
});

test('kernel: none, plain, without verity, all', () => {
  const judge = (...features: string[]): string => judgeKernel({ features }).status;
  assert.equal(judge(), 'fail');
  assert.equal(judge('erofs'), 'fail');
  assert.equal(judge('erofs', 'overlay-detached-layers'), 'warn');
  assert.equal(judge('erofs', 'overlay-detached-layers', 'overlay-verity', 'fs-verity'), 'ok');
});

const [one, two] = ['1'.repeat(64), '2'.repeat(64)];
const mountinfo = [
  '22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw',
  `700 22 0:90 / /srv/store/overlay/${one} ro,nosuid - tmpfs cfsctl ro`,
  `701 700 0:91 / /srv/store/overlay/${one}/root ro,nosuid,nodev - overlay composefs:base ro,metacopy=on`,
  `702 22 0:92 / /srv/store/overlay/${two} ro,nosuid - tmpfs cfsctl ro`,
  `703 22 0:93 / /srv/other/overlay/${two}/root ro - overlay composefs:base ro`,
  `704 22 0:94 / /srv/store/overlay/${two}/x rw - overlay overlay rw`,
  '',
].join('\n');

test('attached is a layer that has a mount of the service below it, in this store', () => {
  assert.deepEqual(attachedLayers('/srv/store', mountinfo), [one]);
  assert.deepEqual(attachedLayers('/srv/store', mountinfo.replace('/srv/other', '/srv/store')), [one, two]);
  assert.deepEqual(attachedLayers('/srv', mountinfo), []);
});

test('the store: not there, empty, not attached, in part, by cfs-overlay', () => {
  assert.equal(judgeExported('/s', undefined).status, 'fail');
  assert.equal(judgeExported('/s', []).status, 'warn');
  assert.equal(judgeExported('/s', [one]).status, 'ok');
  const plain = { store: { graphDriverName: 'overlay' } };
  const withProgram = {
    store: { ...plain.store, graphOptions: { 'overlay.mount_program': { Executable: '/usr/bin/cfs-overlay' } } },
  };
  assert.deepEqual([usesCfsOverlay(plain), usesCfsOverlay(withProgram)], [false, true]);
  const judge = (attached: readonly string[] | string, info: typeof plain = plain): string =>
    judgeAttached([one, two], attached, info).status;
  assert.equal(judge([]), 'fail');
  assert.equal(judge([one]), 'warn');
  assert.equal(judge([two, one]), 'ok');
  assert.equal(judge('cannot set up namespace'), 'fail');
  assert.equal(judge([], withProgram), 'ok');
});
