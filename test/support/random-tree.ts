import fc from 'fast-check';
import { type ByteString, byteString, toByteString } from '../../core/image/bytes.js';
import { objectPath, verityDigestFromBytes } from '../../core/image/digest.js';
import { BLK, CHR, DIR, type Entry, FIFO, LNK, type Node, REG, SOCK, makeNode } from '../../core/image/tree.js';

/** What a random entry is made of; every part is used by some types only. */
interface Recipe {
  readonly parent: number;
  readonly name: ByteString;
  readonly kind: 'dir' | 'inline' | 'external' | 'empty' | 'symlink' | 'device' | 'whiteout' | 'fifo' | 'socket' | 'link';
  readonly permissions: number;
  readonly owner: readonly [nlink: number, uid: number, gid: number, rdev: number];
  readonly time: readonly [seconds: bigint, nanoseconds: number];
  readonly data: ByteString;
  readonly size: bigint;
  readonly digest: Uint8Array | undefined;
  readonly xattrs: readonly (readonly [ByteString, ByteString])[];
}

const bytes = (minLength: number, maxLength: number): fc.Arbitrary<ByteString> =>
  fc
    .uint8Array({ minLength, maxLength })
    .map((array) => toByteString(array.map((byte) => (byte === 0 || byte === 0x2f ? 0x2e : byte))));
const text = (minLength: number, maxLength: number): fc.Arbitrary<ByteString> =>
  fc
    .string({ unit: fc.constantFrom('a', 'b', 'c', '-', '=', '.', '\\', '\n', ' ', 'x', '\xff'), minLength, maxLength })
    .map(byteString);

const name = fc
  .oneof(
    { weight: 6, arbitrary: text(1, 5) },
    bytes(1, 12),
    bytes(255, 255),
    fc.constantFrom('00', 'ff', '0', '...').map(byteString),
  )
  .filter((value) => value !== '.' && value !== '..');
const data = fc.oneof(
  { weight: 4, arbitrary: bytes(1, 80) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 5000 }).map((length) => byteString('\xa5'.repeat(length))) },
  fc
    .constantFrom(2047, 2048, 2049, 4000, 4063, 4064, 4065, 4095, 4096, 4097, 5000)
    .map((length) => byteString('q'.repeat(length))),
);
const u32 = fc.oneof(
  { weight: 4, arbitrary: fc.nat({ max: 3 }) },
  fc.constantFrom(0xffff, 0x10000, 0xffffffff),
  fc.nat({ max: 0xffffffff }),
);
const seconds = fc.oneof({ weight: 6, arbitrary: fc.bigInt(0n, 2n) }, fc.constantFrom(-1n, -(2n ** 63n), 2n ** 63n - 1n));
const key = fc.oneof(
  fc
    .constantFrom(
      'user.a',
      'user.b',
      'user.',
      'user.overlay.x',
      'trusted.overlay.opaque',
      'trusted.overlay.redirect',
      'trusted.overlay.metacopy',
      'trusted.overlay.overlay.opaque',
      'trusted.x',
      'security.selinux',
      'system.posix_acl_access',
      'system.posix_acl_default',
      'system.posix_acl_accessX',
      'odd',
    )
    .map(byteString),
  text(1, 20),
  bytes(255, 255),
);
// Few distinct values, so that many are shared; some are long.
const value = fc.oneof(
  { weight: 6, arbitrary: text(0, 2) },
  { weight: 2, arbitrary: fc.uint8Array({ maxLength: 40 }).map((array) => toByteString(array)) },
  fc.nat({ max: 9000 }).map((length) => byteString('v'.repeat(length))),
);
const xattrs = fc.array(fc.tuple(key, value), { maxLength: 3 });

const recipe: fc.Arbitrary<Recipe> = fc.record({
  parent: fc.nat({ max: 1000 }),
  name,
  kind: fc.constantFrom('dir', 'dir', 'inline', 'external', 'empty', 'symlink', 'device', 'whiteout', 'fifo', 'socket', 'link'),
  permissions: fc.nat({ max: 0o7777 }),
  owner: fc.tuple(u32, u32, u32, u32),
  time: fc.tuple(seconds, u32),
  data,
  size: fc.oneof(
    fc.bigInt(1n, 9000n),
    fc.bigInt(1n, 2n ** 52n),
    fc.constantFrom(4096n, 4097n, 2n ** 43n, 2n ** 43n + 1n, 2n ** 52n),
  ),
  digest: fc.option(
    fc.constantFrom(32, 64).chain((length) => fc.uint8Array({ minLength: length, maxLength: length })),
    { nil: undefined },
  ),
  xattrs,
});

/** Trees whose images are canonical: none of what the format loses (composefs format, section 8). */
export const anyTree: fc.Arbitrary<Node> = fc
  .tuple(recipe, fc.array(recipe, { maxLength: 40 }))
  .map(([root, entries]) => build(root, entries));

function build(rootRecipe: Recipe, entries: readonly Recipe[]): Node {
  const root = nodeOf({ ...rootRecipe, kind: 'dir' });
  const directories = [root];
  const linkable: Node[] = [];
  for (const entry of entries) {
    const children = directories[entry.parent % directories.length]?.children as Map<ByteString, Entry>;
    if (children.has(entry.name)) continue;
    const target = linkable[entry.parent % Math.max(linkable.length, 1)];
    if (entry.kind === 'link') {
      if (target !== undefined) children.set(entry.name, { link: target });
      continue;
    }
    const node = nodeOf(entry);
    children.set(entry.name, node);
    if (entry.kind === 'dir') directories.push(node);
    else if (entry.kind !== 'whiteout') linkable.push(node);
  }
  return root;
}

function nodeOf(from: Recipe): Node {
  const [nlink, uid, gid] = from.owner;
  const [mtime, mtimeNsec] = from.time;
  const xattrs = new Map(from.xattrs.filter(([text]) => !text.includes('overlay.whiteout')));
  const { type, ...own } = typeAndData(from);
  return makeNode({ mode: (type << 12) | from.permissions, nlink, uid, gid, mtime, mtimeNsec, xattrs, ...own });
}

function typeAndData(from: Recipe): Partial<Node> & { type: number } {
  switch (from.kind) {
    case 'dir':
      return { type: DIR };
    case 'inline':
      return { type: REG, content: from.data };
    case 'external':
      return { type: REG, size: from.size, ...objectOf(from) };
    case 'symlink':
      return { type: LNK, target: from.data.slice(0, 4095) as ByteString };
    case 'device':
      return { type: from.permissions % 2 === 0 ? CHR : BLK, rdev: from.owner[3] || 1 };
    case 'whiteout':
      return { type: CHR };
    case 'fifo':
      return { type: FIFO };
    case 'socket':
      return { type: SOCK };
    case 'empty':
    case 'link':
      return { type: REG };
    default:
      throw new Error('there is no such kind');
  }
}

function objectOf(from: Recipe): Pick<Node, 'payload' | 'digest'> {
  if (from.digest === undefined)
    return { payload: from.size % 2n === 0n ? (from.data.slice(0, 4095) as ByteString) : undefined, digest: undefined };
  const algorithm = from.digest.length === 64 ? 'sha512' : 'sha256';
  return { payload: byteString(objectPath(verityDigestFromBytes(algorithm, from.digest))), digest: toByteString(from.digest) };
}
