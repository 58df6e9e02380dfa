// What becomes of an entry of a layer.
import type { ByteString } from '../../../core/image/bytes.js';
import { FormatError } from '../../../core/image/format-error.js';
import {
  BLK,
  CHR,
  DIR,
  FIFO,
  LNK,
  MAX_EXTERNAL_SIZE,
  MAX_TARGET,
  MAX_XATTRS_SIZE,
  MAX_XATTR_KEY,
  NO_XATTRS,
  type Node,
  REG,
  makeNode,
  xattrsSize,
} from '../../../core/image/tree.js';
import type { TarEntry } from '../tar/entry.js';

const TYPES = { file: REG, symlink: LNK, character: CHR, block: BLK, directory: DIR, fifo: FIFO } as const;

/** Throws FormatError if no image can hold it. */
export function nodeOfEntry(entry: TarEntry & { readonly kind: keyof typeof TYPES }): Node {
  const { kind, mode, uid, gid, size } = entry;
  const isDevice = kind === 'character' || kind === 'block';
  if (BigInt(size) > MAX_EXTERNAL_SIZE) throw new FormatError('external-size', 'the file is larger than an image can say');
  return makeNode({
    // A symbolic link has no permissions of its own.
    mode: (TYPES[kind] << 12) | (kind === 'symlink' ? 0o777 : mode),
    uid,
    gid,
    mtime: BigInt(entry.mtime),
    mtimeNsec: entry.mtimeNsec,
    xattrs: allowedXattrs(entry.xattrs),
    ...(kind === 'file' ? { size: BigInt(size) } : {}),
    ...(kind === 'symlink' ? { target: requireTarget(entry.link) } : {}),
    ...(isDevice ? { rdev: deviceOf(entry) } : {}),
  });
}

function requireTarget(target: string): ByteString {
  if (target !== '' && target.length <= MAX_TARGET && !target.includes('\0')) return target as ByteString;
  throw new FormatError('target-length', `the target of a symbolic link has 1 to ${MAX_TARGET} bytes without NUL`);
}

/** As Linux packs a device number into 32 bits (linux/kdev_t.h new_encode_dev). */
function deviceOf({ kind, major, minor }: TarEntry): number {
  if (major > 0xfff || minor > 0xfffff) throw new FormatError('device-number', 'a device number is larger than Linux has');
  if (kind === 'character' && major === 0 && minor === 0)
    throw new FormatError('device-whiteout', 'a character device 0/0, which is a whiteout to overlayfs and a file to others');
  return ((minor & 0xff) | (major << 8) | ((minor & 0xfff00) << 12)) >>> 0;
}

/**
 * Attributes that mean the same on every machine. Labels (security.selinux) and measurements (security.ima) are those of the machine an image was built on; trusted.*
 * and some of user.* tell overlayfs and fuse-overlayfs what to show.
 */
function isAllowed(key: string): boolean {
  if (key === 'security.capability') return true;
  return key.startsWith('user.') && key.length > 5 && !DRIVERS.some((prefix) => key.startsWith(prefix));
}

const DRIVERS: readonly string[] = ['user.overlay.', 'user.fuseoverlayfs.', 'user.containers.'];

function allowedXattrs(all: ReadonlyMap<string, string>): ReadonlyMap<ByteString, ByteString> {
  if (all.size === 0) return NO_XATTRS;
  const kept = new Map([...all].filter(([key]) => isAllowed(key)) as [ByteString, ByteString][]);
  for (const key of kept.keys())
    if (key.length > MAX_XATTR_KEY) throw new FormatError('xattr-key-length', `an xattr key has at most ${MAX_XATTR_KEY} bytes`);
  const size = xattrsSize(kept);
  if (size > MAX_XATTRS_SIZE)
    throw new FormatError(
      'xattrs-size',
      `the extended attributes take ${size} bytes; an image holds at most ${MAX_XATTRS_SIZE} for a file`,
    );
  return kept.size === 0 ? NO_XATTRS : kept;
}
