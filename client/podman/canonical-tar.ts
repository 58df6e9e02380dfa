// The one tar archive that a file tree has here: its sha256 is the diff_id of the layer that a flattened image is for podman.
import { type ByteString } from '../../core/image/bytes.js';
import { type Entry, type Node, isLink } from '../../core/image/tree.js';
import { fileHeader, hasTarForm, linkHeader, payloadSize } from './tar-header.js';

export interface TarEntry {
  /** As in the archive: no leading slash; directories end with one. */
  readonly path: ByteString;
  readonly header: Buffer;
  /** The file whose bytes follow the header; undefined if none do. */
  readonly payload: Node | undefined;
}

const ROOT_NAME = './' as ByteString;

/**
 * Entries in the order of the bytes of their names, each directory before what is in it. Of a file with several names the first is the file and the others
 * are links to it. Sockets are left out.
 */
export function* canonicalTar(root: Node): Generator<TarEntry, void, void> {
  const firstNames = new Map<Node, ByteString>();
  for (const entry of walkEntries(root)) if (isLink(entry)) firstNames.set(entry.link, '' as ByteString);
  yield { path: ROOT_NAME, header: fileHeader(ROOT_NAME, root), payload: undefined };
  // A list instead of recursion: directories may nest without bound.
  const pending: { path: string; entry: Entry }[] = [];
  push('', root);
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const node = isLink(next.entry) ? next.entry.link : next.entry;
    if (!hasTarForm(node)) continue;
    const path = (node.children === undefined ? next.path : `${next.path}/`) as ByteString;
    const first = firstNames.get(node);
    if (first !== undefined && first !== '') {
      yield { path, header: linkHeader(path, node, first), payload: undefined };
      continue;
    }
    if (first === '') firstNames.set(node, path);
    yield { path, header: fileHeader(path, node), payload: payloadSize(node) > 0n ? node : undefined };
    push(path, node);
  }

  /** The last one pushed comes first. */
  function push(prefix: string, directory: Node): void {
    const names = [...(directory.children ?? [])].sort(([a], [b]) => (a < b ? 1 : -1));
    for (const [name, entry] of names) pending.push({ path: prefix + name, entry });
  }
}

function* walkEntries(root: Node): Generator<Entry, void, void> {
  const pending: Entry[] = [root];
  for (let entry = pending.pop(); entry !== undefined; entry = pending.pop()) {
    yield entry;
    if (!isLink(entry)) for (const child of entry.children?.values() ?? []) pending.push(child);
  }
}
