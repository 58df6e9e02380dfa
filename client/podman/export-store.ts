// Writes the additional image store that podman reads: one image for each OCI image of a repository, with one layer, which is where its composefs image gets mounted.
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import type { VerityDigest } from '../../core/image/digest.js';
import { O_CREAT, O_EXCL, O_RDWR, openPath } from '../../core/kernel/file.js';
import { changeMode, syncfs } from '../../core/kernel/durable.js';
import { RequestError } from '../../core/wire/errors.js';
import { listOciNames, readOciRecord } from '../oci/records.js';
import type { Repository } from '../repository/repository.js';
import { podmanName } from './podman-name.js';
import { type PublishedImage, publish } from './publish-store.js';
import { squash } from './squash-config.js';
import { rememberStore } from './remembered-store.js';
import { openForWriting } from './open-store.js';
import { atStore } from './store-error.js';
import { DRAFT, makeOpenDirectory, putFile, putSymlink, remove, renameDurably } from './store-files.js';
import {
  LAYER_DIRECTORIES,
  type LayerMarker,
  MARKER,
  NOT_ATTACHED,
  formatMarker,
  layerDirectory,
  linkName,
  linkPath,
  linkTarget,
  tarSplitPath,
} from './store-layout.js';
import { listWholeLayers } from './whole-layer.js';
import { writeLayer } from './write-layer.js';

/** An OCI image that is not in the store, and why. */
export interface LeftOut {
  readonly name: string;
  readonly because: string;
}

export interface Exported {
  readonly images: readonly PublishedImage[];
  readonly leftOut: readonly LeftOut[];
  /** Another store, which was kept up to date before, and is not any more. */
  readonly forgotten: string | undefined;
}

export interface ExportOptions {
  readonly store: string;
  readonly timeoutMs: number;
  /** Told before a layer is read that the store does not have yet, or not whole. */
  readonly onLayer?: (name: string) => void;
}

/**
 * Makes the store hold the OCI images that have a name in the repository, and no others. One that podman could not read is left out. podman may use the store
 * meanwhile: what it finds is always whole. A layer that is damaged is written anew. Throws `RequestError`.
 */
export function exportStore(repository: Repository, options: ExportOptions): Exported {
  return atStore(options.store, () => writeStore(repository, options));
}

function writeStore(repository: Repository, { store, timeoutMs, onLayer }: ExportOptions): Exported {
  using _lock = openForWriting(store, repository.path, timeoutMs);
  for (const path of ['overlay', 'overlay/l', 'overlay-layers', 'overlay-images', 'overlay-containers'])
    makeOpenDirectory(join(store, path));
  const layers = new Map(listWholeLayers(store).map((layer) => [layer.image, layer]));
  const images = new Map<string, PublishedImage>();
  const leftOut: LeftOut[] = [];
  for (const { name, id } of listOciNames(repository)) {
    try {
      const { image, config } = readOciRecord(repository, id);
      const layer = layers.get(image) ?? addLayer(repository, store, image, () => onLayer?.(name));
      layers.set(image, layer);
      const squashed = squash(config, layer.diffId, layer.size);
      const known = images.get(squashed.id)?.names ?? [];
      images.set(squashed.id, { ...squashed, names: [...known, ...namesOf(name)], layer });
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      leftOut.push({ name, because: error.message });
    }
  }
  publish(store, [...images.values()]);
  return { images: [...images.values()], leftOut, forgotten: rememberStore(repository, store) };
}

function namesOf(name: string): string[] {
  const known = podmanName(name);
  return known === undefined ? [] : [known];
}

/** The marker comes last: without it the directory counts for nothing, and the next run writes it again. */
function addLayer(repository: Repository, store: string, image: VerityDigest, begin: () => void): LayerMarker {
  begin();
  const draft = join(store, 'overlay-layers', `.${process.pid}${DRAFT}`);
  remove(draft);
  using file = openPath(draft, O_RDWR | O_CREAT | O_EXCL, 0o600);
  try {
    const { diffId, size, rootMode } = writeLayer(repository.root, image, file);
    changeMode(file, 0o644);
    const directory = layerDirectory(store, diffId);
    makeOpenDirectory(directory);
    remove(join(directory, MARKER));
    for (const name of LAYER_DIRECTORIES) makeOpenDirectory(join(directory, name));
    renameDurably(file, draft, tarSplitPath(store, diffId));
    putFile(join(directory, 'link'), linkName(diffId));
    putSymlink(linkTarget(diffId), linkPath(store, diffId));
    putFile(join(directory, 'diff'), NOT_ATTACHED);
    // podman gives a container's root directory the mode of what it finds here.
    chmodSync(join(directory, 'diff'), rootMode);
    syncfs(file);
    const marker: LayerMarker = { image, diffId, size };
    putFile(join(directory, MARKER), formatMarker(marker));
    return marker;
  } catch (error) {
    remove(draft);
    throw error;
  }
}
