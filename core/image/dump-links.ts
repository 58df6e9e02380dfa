import type { ByteString } from './bytes.js';
import { findEntry } from './dump-paths.js';
import { FormatError, type TextPosition } from './format-error.js';
import { DIR, type Link, type Node, isLink, isWhiteout, typeOf } from './tree.js';

/** A link whose target is looked up after the last line. */
export interface PendingLink {
  readonly entry: { link: Node | undefined };
  readonly targetPath: ByteString;
  readonly position: TextPosition;
}

/** Gives every link its node, following links to links. Linear: a chain is walked once, all its links get the answer. */
export function resolveLinks(root: Node, pending: readonly PendingLink[]): void {
  const byEntry = new Map<Link, PendingLink>();
  for (const link of pending) byEntry.set(link.entry as Link, link);
  for (const link of pending) if (link.entry.link === undefined) resolveChain(root, link, byEntry);
}

function resolveChain(root: Node, first: PendingLink, byEntry: ReadonlyMap<Link, PendingLink>): void {
  const chain = new Set<PendingLink>();
  let link: PendingLink | undefined = first;
  let node: Node | undefined;
  while (node === undefined && link !== undefined) {
    if (chain.has(link)) throw cycleError(link, chain.size);
    chain.add(link);
    const entry = findEntry(root, link.targetPath);
    if (entry === undefined) throw new FormatError('link-target', 'the path that a link names does not exist', link.position);
    node = isLink(entry) ? (entry.link as Node | undefined) : entry;
    link = isLink(entry) ? byEntry.get(entry) : undefined;
  }
  if (node === undefined) throw new Error('a link was not registered');
  requireLinkable(node, first.position);
  for (const resolved of chain) resolved.entry.link = node;
}

function cycleError(link: PendingLink, length: number): FormatError {
  if (length === 1) return new FormatError('link-to-itself', 'a link names itself', link.position);
  return new FormatError('link-cycle', 'links name each other in a circle', link.position);
}

function requireLinkable(node: Node, position: TextPosition): void {
  if (typeOf(node) === DIR) throw new FormatError('link-to-directory', 'a link cannot name a directory', position);
  // Which parent overlayfs would see a deleted name in would depend on which of the names is the first one.
  if (isWhiteout(node))
    throw new FormatError('link-to-whiteout', 'a link cannot name a whiteout (character device 0/0)', position);
}
