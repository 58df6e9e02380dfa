import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { listOverlayMounts } from './live-mounts.js';

const directory = mkdtempSync(join(tmpdir(), 'cfsctl-proc-'));
after(() => rmSync(directory, { recursive: true }));
const hex = 'ab'.repeat(32);
const wide = 'cd'.repeat(64);

/** Lines as Linux 6.18 writes them, in a /proc of our own: kinds of mounts that cannot all be made here. */
function proc(processes: Readonly<Record<string, { namespace?: string; root?: string; mounts: readonly string[] }>>): string {
  const path = mkdtempSync(join(directory, 'proc-'));
  writeFileSync(join(path, 'uptime'), '');
  for (const [pid, { namespace, root = '/', mounts }] of Object.entries(processes)) {
    mkdirSync(join(path, pid, 'ns'), { recursive: true });
    writeFileSync(
      join(path, pid, 'mountinfo'),
      mounts.map((mount, id) => `${id + 30} 29 0:43 / /mnt ro,nodev - ${mount}\n`).join(''),
    );
    if (namespace === undefined) continue;
    symlinkSync(namespace, join(path, pid, 'ns/mnt'));
    symlinkSync(root, join(path, pid, 'root'));
  }
  return path;
}

const mounts: [what: string, mount: string, digest: string | undefined, stores: string[]][] = [
  [
    'of this service',
    `overlay composefs:sha256:${hex} ro,lowerdir+=/,datadir+=/repo/objects,redirect_dir=on`,
    `sha256:${hex}`,
    ['/repo/objects'],
  ],
  ['of composefs-rs', `overlay composefs:${wide} ro,lowerdir+=/a,datadir+=/b,metacopy=on`, `sha512:${wide}`, ['/b']],
  ['of composefs-rs, by name', 'overlay composefs:refs/base ro,datadir+=/b', undefined, ['/b']],
  [
    'with several stores',
    `overlay composefs:sha256:${hex} ro,datadir+=/a,datadir+=/b\\040c\\054d`,
    `sha256:${hex}`,
    ['/a', '/b c,d'],
  ],
  ['of older tools', 'overlay overlay ro,lowerdir=/x:/y::/data::/more,verity=require', undefined, ['/data', '/more']],
  ['with a store whose path says little', 'overlay overlay ro,lowerdir=/x::/::../data', undefined, ['/', '../data']],
  ['without a store', `overlay composefs:sha256:${hex} ro,lowerdir+=/`, `sha256:${hex}`, []],
];
for (const [what, mount, digest, stores] of mounts) {
  test(`a mount ${what}`, () => {
    const path = proc({ 1: { mounts: [mount] } });
    const [found, ...others] = listOverlayMounts(path);
    const seen = stores.map((store) => (store.startsWith('/') && store !== '/' ? `${path}/1/root${store}` : store));
    assert.deepEqual([found?.digest, found?.stores, others], [digest, seen, []]);
  });
}

for (const mount of [
  'overlay overlay rw,lowerdir=/a:/b,upperdir=/c',
  'ext4 /dev/vda rw',
  'erofs none ro',
  'fuse.overlay composefs:x rw',
])
  test(`not composefs: ${mount}`, () => assert.deepEqual(listOverlayMounts(proc({ 1: { mounts: [mount] } })), []));

test('processes are looked at once for each namespace and root, and always where these cannot be seen', () => {
  const overlay = (name: string): string => `overlay composefs:${name} ro`;
  const found = listOverlayMounts(
    proc({
      1: { namespace: 'mnt:[1]', mounts: [overlay('a')] },
      2: { namespace: 'mnt:[1]', mounts: [overlay('same view: not read')] },
      3: { namespace: 'mnt:[1]', root: '/jail', mounts: [overlay('c')] },
      4: { namespace: 'mnt:[2]', mounts: [overlay('a'), overlay('d')] },
      5: { mounts: [overlay('e')] },
      6: { mounts: [overlay('f')] },
    }),
  );
  assert.deepEqual(
    found.map(({ source }) => source),
    ['a', 'c', 'd', 'e', 'f'].map((name) => `composefs:${name}`),
  );
});

test('the real /proc can be read', () => assert.ok(Array.isArray(listOverlayMounts())));
