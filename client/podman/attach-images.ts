// cfsctl attach and detach: the images of a store, in the mount namespace that podman uses.
import type { VerityDigest } from '../../core/image/digest.js';
import { RequestError } from '../../core/wire/errors.js';
import type { MountClient } from '../mount-client.js';
import { attachLayer, detachLayer, isAttached, isRefusal, lockMounts } from './attach-layer.js';
import { podmanName } from './podman-name.js';
import { type LayerMarker, layerDirectory, listStoredImages, readMarker } from './store-layout.js';

interface StoreLayer extends LayerMarker {
  /** What the images are called that have it, or their ids. */
  readonly images: readonly string[];
  readonly directory: string;
}

export interface AttachedImage {
  readonly images: readonly string[];
  readonly digest: VerityDigest;
  /** Where it was, where it is now. */
  readonly state: 'attached' | 'was attached' | 'refused';
  /** Why the service refused it; else empty. */
  readonly because: string;
}

/** The layers of a store, each once. */
function layersOf(store: string): StoreLayer[] {
  const layers = new Map<string, StoreLayer>();
  for (const { id, names, layer } of listStoredImages(store)) {
    const directory = layerDirectory(store, layer);
    const marker = readMarker(directory);
    if (marker === undefined) continue;
    const images = [...(layers.get(layer)?.images ?? []), ...(names.length > 0 ? names : []), id];
    layers.set(layer, { ...marker, images, directory });
  }
  return [...layers.values()];
}

const MIN_ID = 7;

function isCalled({ images, image }: StoreLayer, wanted: string): boolean {
  const known = podmanName(wanted);
  if (image === wanted) return true;
  return images.some(
    (each) =>
      each === wanted ||
      each === known ||
      each === `localhost/${wanted}` ||
      each === `${wanted}:latest` ||
      (wanted.length >= MIN_ID && /^[0-9a-f]+$/.test(wanted) && each.startsWith(wanted)),
  );
}

/** Throws `RequestError` NoSuchImage if the store has none that is called so. */
function findLayer(layers: readonly StoreLayer[], wanted: string, store: string): StoreLayer {
  const found = layers.filter((layer) => isCalled(layer, wanted));
  const [first] = found;
  if (found.length === 1 && first !== undefined) return first;
  const why = found.length === 0 ? 'has no image' : 'has several images';
  throw new RequestError(found.length === 0 ? 'NoSuchImage' : 'BadRequest', `the store ${store} ${why} ${wanted}`, {
    hint: 'podman images lists them; sudo cfsctl podman export-store brings the store up to date',
  });
}

export interface AttachOptions {
  readonly store: string;
  /** Undefined: all. */
  readonly wanted: readonly string[] | undefined;
  readonly timeoutMs: number;
}

/**
 * Attaches images of a store, as far as they are not. Of all images those stay out that the service refuses; one that was asked for by name must not be
 * refused. Throws `RequestError`.
 */
export function attachImages(client: MountClient, { store, wanted, timeoutMs }: AttachOptions): AttachedImage[] {
  const layers = layersOf(store);
  const chosen = wanted === undefined ? layers : wanted.map((each) => findLayer(layers, each, store));
  using _lock = lockMounts(timeoutMs);
  return chosen.map((layer) => {
    const { images, image: digest, directory } = layer;
    if (isAttached(directory)) return { images, digest, state: 'was attached', because: '' };
    try {
      attachLayer(client, directory, layer);
    } catch (error) {
      if (wanted !== undefined || !isRefusal(error)) throw error;
      return { images, digest, state: 'refused', because: error.message };
    }
    return { images, digest, state: 'attached', because: '' };
  });
}

/** Takes the mounts away again, as far as there are any; returns the images that had one. */
export function detachImages({ store, wanted, timeoutMs }: AttachOptions): string[] {
  const layers = layersOf(store);
  const chosen = wanted === undefined ? layers : wanted.map((each) => findLayer(layers, each, store));
  using _lock = lockMounts(timeoutMs);
  const attached = chosen.filter(({ directory }) => isAttached(directory));
  for (const { directory } of attached) detachLayer(directory);
  return attached.flatMap(({ images }) => images[0] ?? []);
}
