import type { ByteString } from './bytes.js';
import { FormatError } from './format-error.js';
import {
  ESCAPED_OVERLAY,
  ESCAPED_WHITEOUT,
  ESCAPED_WHITEOUTS,
  METACOPY,
  OVERLAY,
  REDIRECT,
  USER_WHITEOUT,
  USER_WHITEOUTS,
  digestOfMetacopy,
  unescapeKey,
} from './overlay-xattrs.js';
import { CHUNKS, type RawInode } from './reader-inode.js';
import { BLK, CHR, DIR, LNK, MAX_PAYLOAD, MAX_XATTR_KEY, NO_XATTRS, type Node, REG, makeNode } from './tree.js';

/** Keys that only mark whiteouts. */
const MARKS: ReadonlySet<ByteString> = new Set([ESCAPED_WHITEOUTS, USER_WHITEOUT, USER_WHITEOUTS]);

/** Makes the node of the original tree from an inode of the image; `data` are a file's content or a link's target. Inverse of prepareXattrs. */
export function restoreNode(inode: RawInode, xattrs: ReadonlyMap<ByteString, ByteString>, data: ByteString | undefined): Node {
  const type = inode.mode >> 12;
  const object = restoreObject(inode, xattrs);
  const whiteout = type === REG && xattrs.has(ESCAPED_WHITEOUT);
  if (whiteout && inode.size !== 0n) throw new FormatError('whiteout-size', 'a file that stands for a whiteout is not empty');
  return makeNode({
    mode: whiteout ? (CHR << 12) | (inode.mode & 0xfff) : inode.mode,
    nlink: inode.nlink,
    uid: inode.uid,
    gid: inode.gid,
    rdev: type === CHR || type === BLK ? inode.locator : 0,
    size: type === DIR ? 0n : inode.size,
    mtime: inode.mtime,
    mtimeNsec: inode.mtimeNsec,
    target: type === LNK ? requireTarget(data) : undefined,
    content: type === REG && data !== '' ? data : undefined,
    payload: object.payload,
    digest: object.digest,
    xattrs: restoreXattrs(xattrs, type),
  });
}

function requireTarget(target: ByteString | undefined): ByteString | undefined {
  if (target?.includes('\0') === true) throw new FormatError('target-nul', 'the target of a symbolic link holds a NUL');
  return target;
}

/** Where the bytes of an external file are. */
function restoreObject(
  inode: RawInode,
  xattrs: ReadonlyMap<ByteString, ByteString>,
): { payload: ByteString | undefined; digest: ByteString | undefined } {
  const metacopy = xattrs.get(METACOPY);
  const redirect = xattrs.get(REDIRECT);
  if ((metacopy !== undefined) !== (inode.layout === CHUNKS))
    throw new FormatError('metacopy-layout', 'external files, and only they, have an overlayfs metacopy xattr');
  if (metacopy === undefined) {
    if (redirect !== undefined) throw new FormatError('redirect-type', 'only external files have an overlayfs redirect');
    return { payload: undefined, digest: undefined };
  }
  const digest = digestOfMetacopy(metacopy);
  if (digest === false) throw new FormatError('metacopy', 'an overlayfs metacopy xattr is not well formed');
  return { payload: requireRedirect(redirect), digest };
}

function requireRedirect(redirect: ByteString | undefined): ByteString | undefined {
  if (redirect === undefined) return undefined;
  if (!redirect.startsWith('/') || redirect.length < 2)
    throw new FormatError('redirect', 'an overlayfs redirect does not start with /');
  if (redirect.length > MAX_PAYLOAD + 1 || redirect.includes('\0'))
    throw new FormatError('redirect', `an overlayfs redirect has more than ${MAX_PAYLOAD} bytes or holds a NUL`);
  return redirect.slice(1) as ByteString;
}

/** The xattrs the tree itself has: marks and those of the image's own overlay are dropped, escaped ones get their name back. */
function restoreXattrs(xattrs: ReadonlyMap<ByteString, ByteString>, type: number): ReadonlyMap<ByteString, ByteString> {
  if (xattrs.size === 0) return NO_XATTRS;
  const restored = new Map<ByteString, ByteString>();
  for (const [key, value] of xattrs) {
    if (MARKS.has(key) || (type === REG && key === ESCAPED_WHITEOUT)) continue;
    const escaped = key.startsWith(ESCAPED_OVERLAY);
    if (!escaped && key.startsWith(OVERLAY)) continue;
    const own = escaped ? unescapeKey(key) : key;
    if (own.length > MAX_XATTR_KEY) throw new FormatError('xattr-key-length', `an xattr key has at most ${MAX_XATTR_KEY} bytes`);
    restored.set(own, value);
  }
  return restored.size === 0 ? NO_XATTRS : restored;
}
