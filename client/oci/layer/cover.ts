// What layers hide from those below them, all layers together: looking a file up takes as many steps as its name has parts, however many layers there are.
import type { ByteString } from '../../../core/image/bytes.js';
import { type LayerDirectory, isDirectory } from './tree.js';

export interface Cover {
  /** Notes what a layer hides. */
  add(layer: LayerDirectory): void;
  /** True if one of the layers hides a file from sight: by something of its name, a whiteout, or an opaque or other thing on the way. */
  hides(parts: readonly ByteString[]): boolean;
}

/** A directory of one of the layers. */
interface Place {
  opaque: boolean;
  /** Taken by what is no directory, or away. */
  readonly hidden: Set<ByteString>;
  readonly directories: Map<ByteString, Place>;
}

export function createCover(): Cover {
  const root = newPlace();
  return {
    add: (layer) => addTo(root, layer),
    hides(parts) {
      let place = root;
      for (const part of parts) {
        if (place.opaque || place.hidden.has(part)) return true;
        const next = place.directories.get(part);
        if (next === undefined) return false;
        place = next;
      }
      return true;
    },
  };
}

function newPlace(): Place {
  return { opaque: false, hidden: new Set(), directories: new Map() };
}

/** As deep as names are, which is not too deep. */
function addTo(place: Place, { opaque, whiteouts, entries }: LayerDirectory): void {
  place.opaque ||= opaque;
  for (const name of whiteouts ?? []) place.hidden.add(name);
  for (const [name, entry] of entries) {
    if (!isDirectory(entry)) {
      place.hidden.add(name);
      continue;
    }
    const next = place.directories.get(name) ?? newPlace();
    place.directories.set(name, next);
    addTo(next, entry);
  }
}
