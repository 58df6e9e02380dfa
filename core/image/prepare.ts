import { type ByteString, byteString } from './bytes.js';
import {
  EMPTY,
  ESCAPED_OPAQUE,
  ESCAPED_WHITEOUT,
  ESCAPED_WHITEOUTS,
  METACOPY,
  OPAQUE,
  REDIRECT,
  SELINUX,
  USER_OPAQUE,
  USER_WHITEOUT,
  USER_WHITEOUTS,
  escapeKey,
  metacopyOf,
} from './overlay-xattrs.js';
import { CHR, type Node, isExternal, isLink, isWhiteout, makeNode } from './tree.js';
import type { ComposefsVersion } from './version.js';

const X = byteString('x');
const Y = byteString('y');

/**
 * The xattrs a node has in an image, for overlayfs to show the tree as it was: the tree's own overlay keys escaped, files pointed at their objects, whiteouts marked.
 * The node itself stays as it is.
 */
export function prepareXattrs(node: Node, isRoot: boolean, version: ComposefsVersion): ReadonlyMap<ByteString, ByteString> {
  const added = addedXattrs(node, isRoot, version);
  if (node.xattrs.size === 0) return new Map(added);
  const xattrs = new Map<ByteString, ByteString>();
  for (const [key, value] of node.xattrs) xattrs.set(escapeKey(key), value);
  for (const [key, value] of added) xattrs.set(key, value);
  return xattrs;
}

function addedXattrs(node: Node, isRoot: boolean, version: ComposefsVersion): (readonly [ByteString, ByteString])[] {
  const added: (readonly [ByteString, ByteString])[] = [];
  if (isExternal(node)) {
    added.push([METACOPY, metacopyOf(node.digest)]);
    if (node.payload !== undefined) added.push([REDIRECT, `/${node.payload}` as ByteString]);
  }
  if (isWhiteout(node)) added.push([ESCAPED_WHITEOUT, EMPTY], [USER_WHITEOUT, EMPTY]);
  if (node.children !== undefined && hasWhiteoutChild(node.children.values())) {
    added.push([ESCAPED_WHITEOUTS, EMPTY], [USER_WHITEOUTS, EMPTY]);
    if (version === 1) added.push([ESCAPED_OPAQUE, X], [USER_OPAQUE, X]);
  }
  if (isRoot) added.push([OPAQUE, Y]);
  return added;
}

function hasWhiteoutChild(entries: Iterable<object>): boolean {
  for (const entry of entries as Iterable<Node>) if (!isLink(entry) && isWhiteout(entry)) return true;
  return false;
}

/** Names of the directories an object store has. The image's root hides them with whiteouts, because overlayfs merges the store's root into it. */
export const STUB_NAMES: readonly ByteString[] = Array.from({ length: 256 }, (_, index) =>
  byteString(index.toString(16).padStart(2, '0')),
);

/** The whiteout that hides one directory of the object store. */
export function makeStub(root: Node): Node {
  const label = root.xattrs.get(SELINUX);
  return makeNode({
    mode: (CHR << 12) | 0o644,
    uid: root.uid,
    gid: root.gid,
    mtime: root.mtime,
    mtimeNsec: root.mtimeNsec,
    ...(label === undefined ? {} : { xattrs: new Map([[SELINUX, label]]) }),
  });
}
