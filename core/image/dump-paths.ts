import { type ByteString, toByteString, toBytes } from './bytes.js';
import { type DumpSource, dumpError } from './dump-source.js';
import { FormatError } from './format-error.js';
import { type Entry, type Node, isLink, requireName } from './tree.js';

/** Where a new entry goes: a directory that exists and a name that it does not have. */
export interface Place {
  readonly children: Map<ByteString, Entry>;
  readonly name: ByteString;
}

/** Finds the parent directories of paths. Dumps list neighbours one after the other, so the last parent is kept. */
export interface PathFinder {
  find(source: DumpSource, at: number, path: ByteString): Place;
}

export function createPathFinder(root: Node): PathFinder {
  let lastParent = '';
  let lastChildren = root.children;
  return {
    find(source, at, path) {
      const slash = path.lastIndexOf('/');
      if (!path.startsWith('/')) throw dumpError(source, at, 'dump-path', 'a path must start with /');
      const parent = path.slice(0, slash);
      if (parent !== lastParent) {
        lastChildren = walkToDirectory(source, at, root, parent);
        lastParent = parent;
      }
      const name = path.slice(slash + 1) as ByteString;
      requireNewName(source, at, lastChildren, name);
      return { children: lastChildren as Map<ByteString, Entry>, name: compactCopy(name) };
    },
  };
}

function walkToDirectory(source: DumpSource, at: number, root: Node, path: string): Map<ByteString, Entry> {
  let children = root.children;
  for (const component of path.split('/').slice(1)) {
    if (component === '') throw dumpError(source, at, 'name-empty', 'a path has an empty component');
    const entry = children?.get(component as ByteString);
    if (entry === undefined) throw dumpError(source, at, 'dump-parent', 'the parent directory was not listed before');
    children = isLink(entry) ? undefined : entry.children;
    if (children === undefined) throw dumpError(source, at, 'dump-parent', 'the parent is not a directory');
  }
  return children as Map<ByteString, Entry>;
}

function requireNewName(source: DumpSource, at: number, children: Map<ByteString, Entry> | undefined, name: ByteString): void {
  try {
    requireName(name);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw dumpError(source, at, error.rule, error.message);
  }
  if (children?.has(name) === true) throw dumpError(source, at, 'dump-path-twice', 'the path was listed before');
}

/** A slice keeps the whole path in memory; entries need the name alone. */
function compactCopy(name: ByteString): ByteString {
  return name.length < 13 ? name : toByteString(toBytes(name));
}

/** What a link's payload names, empty components ignored; undefined if there is nothing. */
export function findEntry(root: Node, path: ByteString): Entry | undefined {
  let entry: Entry | undefined = root;
  for (const component of path.split('/')) {
    if (component === '') continue;
    if (entry === undefined || isLink(entry)) return undefined;
    entry = entry.children?.get(component as ByteString);
  }
  return entry;
}
