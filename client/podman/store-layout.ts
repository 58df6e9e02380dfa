// What an image store for podman looks like, and what of it is ours. github.com/containers/storage, drivers/overlay, layers.go, images.go.
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type VerityDigest, parseVerityDigest } from '../../core/image/digest.js';
import { RequestError } from '../../core/wire/errors.js';

export const DEFAULT_STORE = '/var/lib/cfsmountd/podman';

/** In the directory of a layer: says that it is one of ours, and of which image. */
export const MARKER = 'cfs-layer.json';

export interface LayerMarker {
  /** The fs-verity digest of the image that has to be mounted there. */
  readonly image: VerityDigest;
  /** 64 hex digits of the layer's diff_id, which are its name, too. */
  readonly diffId: string;
  /** Bytes of the layer's tar archive. */
  readonly size: number;
}

export function formatMarker({ image, diffId, size }: LayerMarker): string {
  return `${JSON.stringify({ version: 1, image, diffId, size })}\n`;
}

/** Throws `RequestError` BadImage for what formatMarker did not write. */
export function parseMarker(text: string, path: string): LayerMarker {
  try {
    const { version, image, diffId, size } = JSON.parse(text) as Readonly<Record<string, unknown>>;
    if (version === 1 && typeof image === 'string' && isHex256(diffId) && Number.isSafeInteger(size))
      return { image: parseVerityDigest(image), diffId, size: size as number };
  } catch {
    // The same as any other text.
  }
  throw new RequestError('BadImage', `${path} is damaged`, { hint: 'sudo cfsctl podman export-store writes it again' });
}

function isHex256(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
}

export function layerDirectory(store: string, diffId: string): string {
  return join(store, 'overlay', diffId);
}

/** Undefined where there is no layer of ours. */
export function readMarker(directory: string): LayerMarker | undefined {
  const path = join(directory, MARKER);
  try {
    return parseMarker(readFileSync(path, 'utf8'), path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** The layers of ours in a store, in the order of their names. */
export function listLayers(store: string): LayerMarker[] {
  return readdirSync(join(store, 'overlay'))
    .filter(isHex256)
    .sort()
    .flatMap((diffId) => readMarker(layerDirectory(store, diffId)) ?? []);
}

/**
 * The name of a layer's symbolic link below overlay/l. podman shows it when it cannot mount the layer, which is what happens when nothing is attached there: it is
 * the one place where we can tell a user what to do. No comma and no colon: it stands in mount options.
 */
export function linkName(diffId: string): string {
  const id = createHash('sha256').update(diffId).digest('hex').slice(0, 16).toUpperCase();
  return `if not attached - run - podman unshare cfsctl attach --all - ${id}`;
}

/** What stands in the place of a layer's files until it is attached: not a directory, so that nobody takes it for an empty one. */
export const NOT_ATTACHED = 'The image is not attached here. Run: podman unshare cfsctl attach --all\n';

/** Names of files that hold data of an image (images.go, makeBigDataBaseName): plain ones as they are. */
export function bigDataName(key: string): string {
  return /^[a-z0-9.]+$/.test(key) ? key : `=${Buffer.from(key).toString('base64')}`;
}

export interface StoredImage {
  /** 64 hex digits: the sha256 of its configuration. */
  readonly id: string;
  /** As podman shows them: localhost/base:latest. */
  readonly names: readonly string[];
  /** diff_id of its one layer. */
  readonly layer: string;
}

/** Throws `RequestError` if the store cannot be read. */
export function listStoredImages(store: string): StoredImage[] {
  const path = join(store, 'overlay-images/images.json');
  try {
    const images = JSON.parse(readFileSync(path, 'utf8')) as readonly { id: string; names?: string[]; layer: string }[];
    return images.map(({ id, names = [], layer }) => ({ id, names, layer }));
  } catch (cause) {
    const hint = 'sudo cfsctl podman export-store makes it; --store names another';
    throw new RequestError('BadRequest', `${store} is not a store for podman: images.json cannot be read`, { hint, cause });
  }
}
