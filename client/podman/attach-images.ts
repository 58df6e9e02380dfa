// cfsctl attach and detach: the images of a store, in the mount namespace that podman uses.
import type { VerityDigest } from '../../core/image/digest.js';
import { RequestError } from '../../core/wire/errors.js';
import type { MountClient } from '../mount-client.js';
import { attachLayer, detachLayer, isAttached, isRefusal, lockMounts } from './attach-layer.js';
import { podmanName } from './podman-name.js';
import {
  type LayerMarker,
  MARKER,
  damagedLayer,
  exportCommand,
  layerDirectory,
  listStoredImages,
  readMarker,
} from './store-layout.js';

interface StoreLayer {
  /** What the images are called that have it, or their ids. */
  readonly images: readonly string[];
  readonly directory: string;
  /** Or why it cannot be told which image has to be mounted. */
  readonly marker: LayerMarker | RequestError;
}

export interface AttachedImage {
  readonly images: readonly string[];
  /** Null if the store does not say it any more. */
  readonly digest: VerityDigest | null;
  /** Where it was, where it is now. */
  readonly state: 'attached' | 'was attached' | 'refused' | 'damaged';
  /** Why it is not attached; else empty. */
  readonly because: string;
}

/** The layers of a store, each once. */
function layersOf(store: string): StoreLayer[] {
  const layers = new Map<string, StoreLayer>();
  for (const { id, names, layer } of listStoredImages(store)) {
    const directory = layerDirectory(store, layer);
    const images = [...(layers.get(layer)?.images ?? []), ...names, id];
    layers.set(layer, { images, directory, marker: findMarker(directory) });
  }
  return [...layers.values()];
}

function findMarker(directory: string): LayerMarker | RequestError {
  try {
    return readMarker(directory) ?? damagedLayer(directory, `${directory} has no ${MARKER}`);
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    return error;
  }
}

function digestOf({ marker }: StoreLayer): VerityDigest | null {
  return marker instanceof RequestError ? null : marker.image;
}

const MIN_ID = 7;

function isCalled(layer: StoreLayer, wanted: string): boolean {
  const known = podmanName(wanted);
  if (digestOf(layer) === wanted) return true;
  return layer.images.some(
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
    hint: `podman images lists them; ${exportCommand(store)} brings the store up to date`,
  });
}

export interface AttachOptions {
  readonly store: string;
  /** Undefined: all. */
  readonly wanted: readonly string[] | undefined;
  readonly timeoutMs: number;
}

/**
 * Attaches images of a store, as far as they are not. Of all images those stay out that the service refuses, and that are damaged; one that was asked for by name
 * must be neither. Throws `RequestError`.
 */
export function attachImages(client: MountClient, { store, wanted, timeoutMs }: AttachOptions): AttachedImage[] {
  const layers = layersOf(store);
  const chosen = wanted === undefined ? layers : wanted.map((each) => findLayer(layers, each, store));
  using _lock = lockMounts(timeoutMs);
  return chosen.map((layer) => {
    const attached = { images: layer.images, digest: digestOf(layer), because: '' };
    try {
      return { ...attached, state: attachUnlessAttached(client, layer) };
    } catch (error) {
      const state = leavesOut(error);
      if (wanted !== undefined || state === undefined) throw error;
      return { ...attached, state, because: (error as RequestError).message };
    }
  });
}

function attachUnlessAttached(client: MountClient, { directory, marker }: StoreLayer): 'attached' | 'was attached' {
  if (marker instanceof RequestError) throw marker;
  if (isAttached(directory)) return 'was attached';
  attachLayer(client, directory, marker);
  return 'attached';
}

/** What an error says of one image, and no other; undefined for what would stop them all. */
function leavesOut(error: unknown): 'refused' | 'damaged' | undefined {
  if (isRefusal(error)) return 'refused';
  return error instanceof RequestError && error.code === 'BadImage' ? 'damaged' : undefined;
}

/** Takes the mounts away again, as far as there are any; returns the images that had one. */
export function detachImages({ store, wanted, timeoutMs }: AttachOptions): string[] {
  const layers = layersOf(store);
  const chosen = wanted === undefined ? layers : wanted.map((each) => findLayer(layers, each, store));
  using _lock = lockMounts(timeoutMs);
  const attached = chosen.filter(({ directory, marker }) => !(marker instanceof RequestError) && isAttached(directory));
  for (const { directory } of attached) detachLayer(directory);
  return attached.flatMap(({ images }) => images[0] ?? []);
}
