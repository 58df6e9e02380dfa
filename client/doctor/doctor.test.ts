import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Finding } from './finding.js';
import { judgeNamespaces } from './host.js';
import { judgeDriver, judgeVersion, usesCfsOverlay } from './podman.js';
import { judgeKernel } from './service.js';
import { attachedLayers, judgeAttached, judgeExported } from './store.js';
import { judgeSubordinates } from './subordinates.js';

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
    for (const [index, finding] of judgeSubordinates({ subuid: text, subgid: text }, alice, nsswitch).entries()) {
      assert.equal(finding.status, status);
      assert.match(finding.says, new RegExp(says.source.replace('subuid', ['subuid', 'subgid'][index]!)));
      if (status === 'fail') assert.match(finding.mend!, /^(?:sudo touch .* && )?sudo usermod --add-subuids .* alice /);
    }
  });
}

const both = 'sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 alice && podman system migrate';
const mends: [
  subuid: string | undefined,
  subgid: string | undefined,
  mend: string,
  user?: { uid: number; name: string | undefined },
][] = [
  ['', '', both],
  ['# none\nbob:many:1\n', '', both],
  [undefined, undefined, `sudo touch /etc/subuid /etc/subgid && ${both}`],
  ['bob:100000:65536\n', 'carol:165536:65536\n', both.replaceAll('100000-165535', '231072-296607')],
  // A hole of 65535 ids is too small, one of 65536 is not.
  ['bob:165535:65536\n', '', both.replaceAll('100000-165535', '231071-296606')],
  ['bob:165536:65536\n', '', both],
  ['bob:1:99999\ncarol:500000:9\ndan:100000:1\n', '', both.replaceAll('100000-165535', '100001-165536')],
  ['alice:100000:65536\n', '', 'sudo usermod --add-subgids 165536-231071 alice && podman system migrate'],
  ['', '', both.replaceAll('100000-165535', '120001-185536'), { uid: 120_000, name: 'alice' }],
  ['', '', both.replace('alice', "'o'\\''brien'"), { uid: 1, name: "o'brien" }],
  ['', '', 'sudo useradd --uid 4242 user4242', { uid: 4242, name: undefined }],
];
for (const [subuid, subgid, mend, user = alice] of mends)
  test(`subordinate ids are mended by one line: ${JSON.stringify([subuid, subgid, user])}`, () => {
    assert.equal(judgeSubordinates({ subuid, subgid }, user)[1]!.mend, mend);
  });

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

const images = [
  { id: 'a', names: ['localhost/a:latest', 'localhost/b:latest'], layer: one },
  { id: 'b', names: [], layer: two },
];
const whole = (): undefined => undefined;

test('the store: not there, empty, not attached, in part, by cfs-overlay', () => {
  assert.equal(judgeExported('/s', undefined).status, 'fail');
  assert.equal(judgeExported('/s', []).status, 'warn');
  assert.equal(judgeExported('/s', images, whole).status, 'ok');
  const plain = { store: { graphDriverName: 'overlay' } };
  const withProgram = {
    store: { ...plain.store, graphOptions: { 'overlay.mount_program': { Executable: '/usr/bin/cfs-overlay' } } },
  };
  assert.deepEqual([usesCfsOverlay(plain), usesCfsOverlay(withProgram)], [false, true]);
  const judge = (attached: readonly string[] | string, info: typeof plain = plain): string =>
    judgeAttached('/s', images, attached, info).status;
  assert.equal(judge([]), 'fail');
  assert.equal(judge([one]), 'warn');
  assert.equal(judge([two, one]), 'ok');
  assert.equal(judge('cannot set up namespace'), 'fail');
  assert.equal(judge([], withProgram), 'ok');
});

test('the store: images are counted as podman images lists them, and damaged layers are named', () => {
  assert.equal(judgeExported('/s', images, whole).says, '/s has 3 images');
  const plain = { store: { graphDriverName: 'overlay' } };
  assert.equal(judgeAttached('/s', images, [one], plain).says, '2 of 3 images');
  const twice = [...images, { id: 'c', names: [], layer: two }];
  const damaged = judgeExported('/s', twice, (_store, layer) => (layer === two ? 'two is damaged' : undefined));
  assert.deepEqual([damaged.status, damaged.says], ['fail', 'two is damaged']);
});

test('what to do names the store, unless it is where it always is', () => {
  const usual = '/var/lib/cfsmountd/podman';
  const info = { store: { graphDriverName: 'overlay' } };
  assert.equal(judgeExported(usual, undefined).mend, 'sudo cfsctl podman export-store');
  assert.equal(judgeExported('/my store', undefined).mend, "sudo cfsctl podman export-store '/my store'");
  assert.equal(judgeAttached(usual, images, [], info).mend, 'podman unshare cfsctl attach --all');
  assert.equal(judgeAttached('/s', images, [], info).mend, 'podman unshare cfsctl attach --all --store /s');
});
