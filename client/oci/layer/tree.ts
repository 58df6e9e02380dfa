// One layer as a tree of its own. What it takes away from those below is noted beside what it brings, so that the order of its entries does not matter.
import type { ByteString } from '../../../core/image/bytes.js';
import { FormatError } from '../../../core/image/format-error.js';
import type { Node } from '../../../core/image/tree.js';

export interface LayerDirectory {
  /** Undefined where the layer has only something below it: a directory of a lower layer keeps its attributes. */
  node: Node | undefined;
  readonly entries: Map<ByteString, LayerEntry>;
  /** Names of lower layers that are not to be seen. */
  whiteouts: Set<ByteString> | undefined;
  /** Nothing of lower layers is to be seen in it. */
  opaque: boolean;
}

/** A further name of a file of a lower layer. */
export interface LowerLink {
  readonly lower: readonly ByteString[];
  /** Known when the layers below are put together. */
  node: Node | undefined;
}

/** Links in one layer have the same node. */
export type LayerEntry = LayerDirectory | LowerLink | Node;

export function newLayerDirectory(): LayerDirectory {
  return { node: undefined, entries: new Map(), whiteouts: undefined, opaque: false };
}

export function isDirectory(entry: LayerEntry | undefined): entry is LayerDirectory {
  return entry !== undefined && 'entries' in entry;
}

export function isLowerLink(entry: LayerEntry): entry is LowerLink {
  return 'lower' in entry;
}

/** The directory that holds the last part of a path, made where it is missing; `made` is told of each. Throws FormatError if the way leads through a file or a link. */
export function enterParent(root: LayerDirectory, parts: readonly ByteString[], made: () => void): LayerDirectory {
  let directory = root;
  for (const part of parts.slice(0, -1)) {
    let next = directory.entries.get(part);
    if (next === undefined) {
      made();
      next = newLayerDirectory();
      directory.entries.set(part, next);
    }
    if (!isDirectory(next))
      throw new FormatError('path-through-file', 'its name leads through what is not a directory in the same layer');
    directory = next;
  }
  return directory;
}

/** Undefined if there is nothing of that name. */
export function findEntry(root: LayerDirectory, parts: readonly ByteString[]): LayerEntry | undefined {
  let found: LayerEntry | undefined = root;
  for (const part of parts) found = isDirectory(found) ? found.entries.get(part) : undefined;
  return found;
}
