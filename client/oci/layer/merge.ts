// Layers on top of each other become one tree, as overlayfs would show them.
import type { ByteString } from '../../../core/image/bytes.js';
import { FormatError } from '../../../core/image/format-error.js';
import { BLK, CHR, DIR, type Entry, type Node, REG, makeNode, typeOf } from '../../../core/image/tree.js';
import { type LayerDirectory, type LowerLink, findEntry, isDirectory, isLowerLink, newLayerDirectory } from './tree.js';

export interface Layer {
  readonly root: LayerDirectory;
  /** All that are in it, and those that were but have been replaced. */
  readonly links: readonly LowerLink[];
}

/** Puts a layer on top of what those below it have become. Throws FormatError if a link leads to nothing there. */
export function applyLayer(base: LayerDirectory, { root, links }: Layer): void {
  // Before anything is hidden: a layer links to what it found.
  for (const link of links) link.node = linkedNode(base, link.lower);
  mergeInto(base, root);
}

function linkedNode(base: LayerDirectory, path: readonly ByteString[]): Node {
  const found = findEntry(base, path);
  if (found === undefined)
    throw new FormatError('link-target-missing', `a hard link leads to what is not there: ${path.join('/')}`);
  if (isDirectory(found)) throw new FormatError('link-to-directory', `a hard link leads to a directory: ${path.join('/')}`);
  return nodeBehind(found);
}

function nodeBehind(entry: LowerLink | Node): Node {
  if (!isLowerLink(entry)) return entry;
  if (entry.node === undefined) throw new Error('a link was not followed');
  return entry.node;
}

/** As deep as names are, which is not too deep. */
function mergeInto(base: LayerDirectory, upper: LayerDirectory): void {
  base.node = upper.node ?? base.node;
  if (upper.opaque) base.entries.clear();
  for (const name of upper.whiteouts ?? []) base.entries.delete(name);
  for (const [name, entry] of upper.entries) {
    if (!isDirectory(entry)) {
      base.entries.set(name, nodeBehind(entry));
      continue;
    }
    const below = base.entries.get(name);
    const merged = isDirectory(below) ? below : newLayerDirectory();
    base.entries.set(name, merged);
    mergeInto(merged, entry);
  }
}

export interface FinishOptions {
  /** Leave device nodes out. */
  readonly skipDevices: boolean;
}

/** The tree to make an image of. Names of one file become links, the first of them, depth first in byte order, being the file itself. */
export function finishTree(base: LayerDirectory, { skipDevices }: FinishOptions): Node {
  const met = new Set<Node>();
  const finish = (directory: LayerDirectory): Node => {
    const node = directory.node ?? makeNode({ mode: (DIR << 12) | 0o755 });
    const children = node.children as Map<ByteString, Entry>;
    for (const [name, entry] of [...directory.entries].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (isDirectory(entry)) children.set(name, finish(entry));
      else if (!skipDevices || !isDevice(nodeBehind(entry))) children.set(name, nameFor(nodeBehind(entry)));
    }
    return node;
  };
  const nameFor = (node: Node): Entry => {
    requireContents(node);
    if (met.has(node)) {
      node.nlink += 1;
      return { link: node };
    }
    met.add(node);
    return node;
  };
  return finish(base);
}

function isDevice(node: Node): boolean {
  return typeOf(node) === CHR || typeOf(node) === BLK;
}

/** Files that layers above hide are not stored. */
function requireContents(node: Node): void {
  if (typeOf(node) === REG && node.size > 0n && node.content === undefined && node.digest === undefined)
    throw new Error('a file is to be seen whose contents were taken to be hidden');
}
