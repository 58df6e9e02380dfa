import type { ByteString } from '../../../core/image/bytes.js';
import { type LayerDirectory, isDirectory } from './tree.js';

/** True if one of the layers above hides a file from sight: by something of its name, a whiteout, or an opaque or other thing on the way. */
export function isCovered(parts: readonly ByteString[], above: readonly LayerDirectory[]): boolean {
  return above.some((layer) => covers(layer, parts));
}

function covers(layer: LayerDirectory, parts: readonly ByteString[]): boolean {
  let directory = layer;
  for (const part of parts) {
    if (directory.opaque || directory.whiteouts?.has(part) === true) return true;
    const entry = directory.entries.get(part);
    if (entry === undefined) return false;
    if (!isDirectory(entry)) return true;
    directory = entry;
  }
  return true;
}
