// The entries of a layer's archive become a tree. Whiteouts: OCI image specification, "Representing Changes".
import type { ByteString } from '../../../core/image/bytes.js';
import { FormatError } from '../../../core/image/format-error.js';
import { type Node, xattrsSize } from '../../../core/image/tree.js';
import type { Budget } from '../budget.js';
import type { TarEntry } from '../tar/entry.js';
import { splitTarPath } from '../tar/path.js';
import type { Layer } from './merge.js';
import { nodeOfEntry } from './node.js';
import {
  type LayerDirectory,
  type LowerLink,
  enterParent,
  findEntry,
  isDirectory,
  isLowerLink,
  newLayerDirectory,
} from './tree.js';

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
/** Names that aufs kept for itself; other programs pass over them, too. */
const META = '.wh..wh.';

export interface LayerBuilder {
  /** Takes an entry; returns the file whose bytes are wanted, if it is one that has some. Throws FormatError. */
  add(entry: TarEntry): Node | undefined;
  readonly layer: Layer;
  /** Paths of files that were not wanted, and are: by a further name in this layer that is seen. */
  readonly missed: ReadonlySet<string>;
  /** Paths below this layer that it has links to. */
  readonly linked: ReadonlySet<string>;
}

export interface BuilderOptions {
  readonly budget: Budget;
  /** True for what nobody will see. */
  isHidden(parts: readonly ByteString[]): boolean;
}

export function createLayerBuilder({ budget, isHidden }: BuilderOptions): LayerBuilder {
  const root = newLayerDirectory();
  const links: LowerLink[] = [];
  const unwanted = new Map<Node, string>();
  const missed = new Set<string>();
  const linked = new Set<string>();

  const place = (parts: readonly ByteString[], entry: Node | LowerLink): void => {
    enterParent(root, parts, budget.addEntry).entries.set(parts.at(-1) as ByteString, entry);
  };
  const addDirectory = (parts: readonly ByteString[], node: Node): void => {
    const parent = parts.length === 0 ? undefined : enterParent(root, parts, budget.addEntry);
    const known = parent === undefined ? root : parent.entries.get(parts.at(-1) as ByteString);
    const directory: LayerDirectory = isDirectory(known) ? known : newLayerDirectory();
    directory.node = node;
    parent?.entries.set(parts.at(-1) as ByteString, directory);
  };
  const addLink = (parts: readonly ByteString[], target: readonly ByteString[]): void => {
    const found = target.length === 0 ? root : findEntry(root, target);
    if (isDirectory(found)) throw new FormatError('link-to-directory', 'a hard link leads to a directory');
    if (found === undefined) return addLowerLink(parts, target);
    const path = isLowerLink(found) ? undefined : unwanted.get(found);
    if (path !== undefined && !isHidden(parts)) missed.add(path);
    place(parts, found);
  };
  const addLowerLink = (parts: readonly ByteString[], lower: readonly ByteString[]): void => {
    const link: LowerLink = { lower, node: undefined };
    links.push(link);
    linked.add(lower.join('/'));
    place(parts, link);
  };
  const addWhiteout = (parts: readonly ByteString[], { kind, size }: TarEntry): void => {
    if ((kind !== 'file' && kind !== 'link') || size !== 0)
      throw new FormatError('whiteout-kind', 'a whiteout that is not an empty file');
    const parent = enterParent(root, parts, budget.addEntry);
    const name = parts.at(-1) as ByteString;
    if (name === OPAQUE) parent.opaque = true;
    else (parent.whiteouts ??= new Set()).add(requireName(name.slice(WHITEOUT.length)));
  };

  return {
    layer: { root, links },
    missed,
    linked,
    add(entry) {
      budget.addEntry();
      budget.addText(entry.path.length);
      budget.expectUnpacked(entry.size);
      const parts = splitTarPath(entry.path);
      const marked = parts.findIndex((part) => part.startsWith(WHITEOUT));
      if (marked >= 0 && parts[marked] !== OPAQUE && parts[marked]?.startsWith(META) === true) return undefined;
      if (marked >= 0 && marked < parts.length - 1) throw new FormatError('whiteout-path', 'a name leads through a whiteout');
      if (marked >= 0) {
        addWhiteout(parts, entry);
        return undefined;
      }
      if (entry.kind === 'link') {
        budget.addText(entry.link.length);
        addLink(requireBelowRoot(parts), splitTarPath(entry.link));
        return undefined;
      }
      const node = nodeOfEntry({ ...entry, kind: entry.kind });
      budget.addText((node.target?.length ?? 0) + xattrsSize(node.xattrs));
      if (entry.kind === 'directory') addDirectory(parts, node);
      else place(requireBelowRoot(parts), node);
      if (node.size === 0n || entry.kind !== 'file') return undefined;
      if (!isHidden(parts)) return node;
      unwanted.set(node, parts.join('/'));
      return undefined;
    },
  };
}

function requireBelowRoot(parts: readonly ByteString[]): readonly ByteString[] {
  if (parts.length > 0) return parts;
  throw new FormatError('path-root', 'the root of the tree is not a directory');
}

/** `.wh..` and `.wh...` would take away the directory itself, or the one above. */
function requireName(name: string): ByteString {
  if (name !== '' && name !== '.' && name !== '..') return name as ByteString;
  throw new FormatError('whiteout-name', 'a whiteout that names no file');
}
