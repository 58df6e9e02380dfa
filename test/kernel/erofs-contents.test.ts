// The kernel as a second opinion on plain EROFS images that no tool makes: what it shows is what rules are told of.
import assert from 'node:assert/strict';
import { lstatSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { readErofsFacts } from '../../core/image/erofs-facts.js';
import { FormatError } from '../../core/image/format-error.js';
import { sourceOf } from '../../core/image/image-bytes.js';
import { isErrno } from '../../core/kernel/error.js';
import { O_RDONLY, openPath, procPath } from '../../core/kernel/file.js';
import { bind } from '../../core/kernel/libc.js';
import { mountErofs } from '../../daemon/build-mount.js';
import { requirePrivileges } from '../support/machine.js';
import { type SmallImage, directoryBlock, makeSmallErofs, rootWith, xattrArea, xattrEntry } from '../support/small-erofs.js';

const lgetxattr = bind('lgetxattr', ['path', 'path', 'buffer', 'u64'], 'long');
const SB = 1024;
const FILE = 0o104755;
const u32 = (value: number): Uint8Array => Buffer.from(Uint32Array.of(value).buffer);

let directory: string;
before(() => {
  requirePrivileges();
  directory = mkdtempSync(join(tmpdir(), 'erofs-contents-'));
});
after(() => rmSync(directory, { recursive: true }));

interface Seen {
  readonly capability: boolean;
  readonly setUid: boolean;
  readonly names: string[];
}

/** What the kernel shows of the file `f` in the root of an image, and of the root; an errno if it refuses. */
function see(image: Uint8Array): Seen | string {
  const path = join(directory, 'image');
  writeFileSync(path, image);
  using file = openPath(path, O_RDONLY);
  try {
    using mount = mountErofs(file, { type: 'erofs', hasAcl: true }, 0);
    const f = `${procPath(mount)}/f`;
    return {
      capability: hasCapability(f),
      setUid: (lstatSync(f).mode & 0o4000) !== 0,
      names: readdirSync(procPath(mount)).sort(),
    };
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

function hasCapability(path: string): boolean {
  try {
    return lgetxattr(path, 'security.capability', Buffer.alloc(64), 64) > 0;
  } catch (error) {
    if (isErrno(error, 'ENODATA')) return false;
    throw error;
  }
}

/** struct vfs_cap_data of linux/capability.h, version 2. */
const VALUE = '\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0';

/** Two prefixes of the image's own: `user.capa` and `security.capa`. */
const PREFIXES = {
  4096: Buffer.from([5, 0, 1, 0x63, 0x61, 0x70, 0x61, 0, 5, 0, 6, 0x63, 0x61, 0x70, 0x61]),
  [SB + 91]: Uint8Array.of(2),
  [SB + 92]: u32(1024),
  [SB + 80]: u32(0x40),
};
const withXattrs = (xattrs: Uint8Array, put: SmallImage['put'] = {}): SmallImage => ({
  inodes: [rootWith([['f', 60, FILE]]), { nid: 60, mode: FILE, xattrs }],
  put,
});

const capabilities: readonly (readonly [what: string, image: SmallImage, seen: boolean])[] = [
  ['none', withXattrs(xattrArea([], [xattrEntry(1, 'capability', VALUE)])), false],
  ['behind its inode', withXattrs(xattrArea([], [xattrEntry(6, 'capability', VALUE)])), true],
  [
    'behind an xattr of an unused prefix',
    withXattrs(xattrArea([], [xattrEntry(0, '', ''), xattrEntry(6, 'capability', VALUE)])),
    true,
  ],
  ['in the shared table', withXattrs(xattrArea([1024], []), { 4096: xattrEntry(6, 'capability', VALUE) }), true],
  [
    'in the shared table, far behind its block',
    withXattrs(xattrArea([1600], []), { 6400: xattrEntry(6, 'capability', VALUE) }),
    true,
  ],
  ['behind a prefix of its own', withXattrs(xattrArea([], [xattrEntry(0x81, 'bility', VALUE)]), PREFIXES), true],
  ['behind such a prefix of user.', withXattrs(xattrArea([], [xattrEntry(0x80, 'bility', VALUE)]), PREFIXES), false],
  [
    'shared, behind a prefix of its own',
    withXattrs(xattrArea([1600], []), { ...PREFIXES, 6400: xattrEntry(0x81, 'bility', VALUE) }),
    true,
  ],
];
for (const [what, image, seen] of capabilities) {
  test(`a capability ${what}: the kernel and the facts agree`, () => {
    const bytes = makeSmallErofs(image);
    const shown = see(bytes);
    assert.ok(typeof shown !== 'string', `the kernel refuses it: ${JSON.stringify(shown)}`);
    assert.equal(shown.capability, seen);
    assert.equal(shown.setUid, true);
    const facts = readErofsFacts(sourceOf(bytes));
    assert.deepEqual([facts.fileCapabilities, facts.setUid], [seen ? 1 : 0, 1]);
  });
}

const dots = (self: number): [string, number, number][] => [
  ['.', self, 0o40755],
  ['..', 36, 0o40755],
];
/** The kernel takes these, and would show what no walk finds: whoever judges an image must refuse them. */
const tricks: readonly (readonly [what: string, rule: string, image: SmallImage])[] = [
  [
    'a directory whose only block is a whole tail',
    'inode-tail',
    {
      inodes: [
        { nid: 36, mode: 0o40755, layout: 2, size: 4096, locator: 3 },
        { nid: 300, mode: FILE },
      ],
      blocks: 4,
      put: { 12288: directoryBlock([...dots(36), ['f', 300, FILE]]) },
    },
  ],
  [
    'a directory in chunks',
    'inode-layout',
    {
      inodes: [
        { nid: 36, mode: 0o40755, layout: 4, size: 100, tail: u32(1) },
        { nid: 60, mode: FILE },
      ],
      put: { 4096: directoryBlock([...dots(36), ['f', 60, FILE]]) },
    },
  ],
];
for (const [what, rule, image] of tricks) {
  test(`refused, whatever the kernel makes of it: ${what}`, () => {
    const bytes = makeSmallErofs(image);
    see(bytes);
    assert.throws(
      () => readErofsFacts(sourceOf(bytes)),
      (error) => error instanceof FormatError && error.rule === rule,
    );
  });
}

test('the kernel does read a directory in chunks: the refusal is ours', () => {
  const shown = see(makeSmallErofs(tricks[1]![2]));
  assert.ok(typeof shown !== 'string' && shown.names.includes('f'), JSON.stringify(shown));
});
