// Side by side with systemd-mountfsd: the same EROFS bytes, the same user in the same kind of user namespace. Ratios only: the machine is emulated.
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import type { Actor } from '../../support/actor.js';
import { addToRepository, makeErofs, policyText } from '../../support/images.js';
import type { Kit } from '../../support/kit.js';
import { run } from '../../support/machine.js';
import { ALICE, manyIdsActor, writePolicy } from '../guest.js';

const REPOSITORY = '/srv/compared';
const IMAGE = '/var/tmp/compared.erofs';
const EROFS = '/home/alice/compared.erofs';
const DISK = '/home/alice/compared.raw';
const RUNS = 30;
const GOAL = 10;
let alice: Actor;

/** mountfsd takes nothing but a disk image with a partition table. */
function makeDisk(): void {
  const mebibytes = 8;
  run('truncate', '-s', `${mebibytes + 4}M`, DISK);
  const root = '4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709'; // of x86-64, Discoverable Partitions Specification
  const table = `label: gpt\nstart=2048, size=${mebibytes * 2048}, type=${root}, name=root\n`;
  run(
    'sh',
    '-c',
    `printf '%s' '${table}' | sfdisk -q ${DISK} && dd if=${IMAGE} of=${DISK} bs=1M seek=1 conv=notrunc status=none`,
  );
  run('chown', 'alice:alice', DISK, EROFS);
}

before(async () => {
  const files = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`usr/share/file-${i}`, 'x'.repeat(i * 1000)]));
  const digest = makeErofs(IMAGE, { 'etc/os-release': 'ID=compared\n', ...files }, '--all-root');
  copyFileSync(IMAGE, EROFS);
  makeDisk();
  run('runuser', '-u', 'alice', '--', 'fsverity', 'enable', EROFS);
  mkdirSync(`${REPOSITORY}/objects`, { recursive: true });
  addToRepository(REPOSITORY, IMAGE, 'compared');
  writePolicy(policyText({ digests: [digest], repositories: { [REPOSITORY]: 'trusted' } }));
  // Without it, mountfsd asks for a password: Debian's trusts no directory.
  const rule = `polkit.addRule(function (action, subject) {
  if (subject.user == 'alice' && action.id.indexOf('io.systemd.mount-file-system.') == 0) return polkit.Result.YES;
});\n`;
  writeFileSync('/etc/polkit-1/rules.d/10-vm.rules', rule);
  run('systemctl', 'restart', 'polkit');
  run('systemctl', 'start', 'systemd-mountfsd.socket', 'systemd-nsresourced.socket');
  alice = await manyIdsActor(ALICE);
});
after(() => alice?.stop());

/** Milliseconds of each call; every one on a connection of its own unless `keep`. */
function callOften({ client, file }: Kit, { runs, path, keep }: { runs: number; path?: string; keep?: boolean }): number[] {
  const times: number[] = [];
  let connection = client.connect({ timeoutMs: 60_000 });
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    if (!keep) connection = client.connect({ timeoutMs: 60_000 });
    const opened = path === undefined ? undefined : file.openPath(path, file.O_RDONLY);
    const { mount } = opened ? connection.mountFile(opened, []) : connection.mountImage('compared');
    times.push(performance.now() - start);
    mount.close();
    opened?.close();
    if (!keep) connection.close();
  }
  return times;
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

test('our MountImage and mountfsd’s, thirty calls each', { timeout: 300_000 }, async (t) => {
  // Both are warm: ours is compiled while it runs. What the first calls take is told as well.
  const first = await alice.do(callOften, { runs: RUNS });
  await alice.do(callOften, { runs: 2 * RUNS, path: EROFS });
  const within = ['nsenter', '-U', '-t', String(alice.pid), '-S', '0', '-G', '0'];
  const mountfsd = (runs: number): number[] =>
    run(within[0]!, ...within.slice(1), '/tests/programs/mountfsd', DISK, String(runs), 'self')
      .trim()
      .split('\n')
      .map(Number);
  mountfsd(3);
  const rows: [what: string, times: number[]][] = [
    ['mountfsd MountImage', mountfsd(RUNS)],
    ['cfsmountd MountImage, each with a new connection', await alice.do(callOften, { runs: RUNS })],
    ['cfsmountd MountImage, one connection', await alice.do(callOften, { runs: RUNS, keep: true })],
    ['cfsmountd MountImage, its first calls', first],
    ['cfsmountd MountFile, each with a new connection', await alice.do(callOften, { runs: RUNS, path: EROFS })],
  ];
  for (const [what, times] of rows) assert.equal(times.length, RUNS, what);
  const [theirs, ours] = rows.map(([, times]) => median(times)) as [number, number];
  for (const [what, times] of rows) {
    const ms = median(times);
    t.diagnostic(`${what.padEnd(52)} median ${ms.toFixed(1).padStart(7)} ms   1/${(theirs / ms).toFixed(1)} of mountfsd's`);
  }
  const ratio = theirs / ours;
  t.diagnostic(`goal, at most 1/${GOAL} of mountfsd's time: ${ratio >= GOAL ? 'met' : 'NOT MET'} (1/${ratio.toFixed(1)})`);
});
