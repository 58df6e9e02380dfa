// What an image store for podman looks like, and what of it is ours. github.com/containers/storage, drivers/overlay, layers.go, images.go.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { type VerityDigest, parseVerityDigest } from '../../core/image/digest.js';
import { RequestError } from '../../core/wire/errors.js';
import { shellWord } from '../shell-word.js';

export const DEFAULT_STORE = '/var/lib/cfsmountd/podman';

/** In a store that cfsctl made: who holds its lock is the one that writes. Others cannot open it, so nobody else can hold it. */
export const WRITER_LOCK = '.cfsctl-lock';

export function isOwnStore(store: string): boolean {
  return existsSync(join(store, WRITER_LOCK));
}

/** The command that makes a store, or brings it up to date. */
export function exportCommand(store: string): string {
  return `sudo cfsctl podman export-store${store === DEFAULT_STORE ? '' : ` ${shellWord(store)}`}`;
}

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

/** Undefined for what formatMarker did not write. */
function parseMarker(text: string): LayerMarker | undefined {
  try {
    const { version, image, diffId, size } = JSON.parse(text) as Readonly<Record<string, unknown>>;
    if (version === 1 && typeof image === 'string' && isHex256(diffId) && Number.isSafeInteger(size))
      return { image: parseVerityDigest(image), diffId, size: size as number };
  } catch {
    // The same as any other text.
  }
  return undefined;
}

function isHex256(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
}

export function layerDirectory(store: string, diffId: string): string {
  return join(store, 'overlay', diffId);
}

/** The store that the directory of a layer is in. */
export function storeOf(directory: string): string {
  return dirname(dirname(directory));
}

/** In the directory of a layer, beside its files; podman mounts over them. */
export const LAYER_DIRECTORIES = ['empty', 'merged', 'work'];

export function tarSplitPath(store: string, diffId: string): string {
  return join(store, 'overlay-layers', `${diffId}.tar-split.gz`);
}

/** Undefined where there is no layer of ours. Throws `RequestError` BadImage for a marker that is damaged, or another layer's. */
export function readMarker(directory: string): LayerMarker | undefined {
  const path = join(directory, MARKER);
  let marker: LayerMarker | undefined;
  try {
    marker = parseMarker(readFileSync(path, 'utf8'));
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw damagedLayer(directory, `${path} cannot be read (${code})`, cause);
  }
  if (marker?.diffId !== basename(directory)) throw damagedLayer(directory, `${path} is damaged`);
  return marker;
}

/** `directory`: of the layer, in its store. */
export function damagedLayer(directory: string, why: string, cause?: unknown): RequestError {
  const hint = `${exportCommand(storeOf(directory))} writes it again`;
  return new RequestError('BadImage', why, { hint, cause });
}

/**
 * The name of a layer's symbolic link below overlay/l. podman shows it when it cannot mount the layer, which is what happens when nothing is attached there: it is
 * the one place where we can tell a user what to do. No comma and no colon: it stands in mount options.
 */
export function linkName(diffId: string): string {
  const id = createHash('sha256').update(diffId).digest('hex').slice(0, 16).toUpperCase();
  return `if not attached - run - podman unshare cfsctl attach --all - ${id}`;
}

export function linkPath(store: string, diffId: string): string {
  return join(store, 'overlay/l', linkName(diffId));
}

export function linkTarget(diffId: string): string {
  return `../${diffId}/diff`;
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

const imageList = z.array(
  z.looseObject({ id: z.string(), names: z.array(z.string()).nullish(), layer: z.string().refine(isHex256) }),
);

/** Throws `RequestError` if the store cannot be read. */
export function listStoredImages(store: string): StoredImage[] {
  const path = join(store, 'overlay-images/images.json');
  try {
    const images = imageList.parse(JSON.parse(readFileSync(path, 'utf8')));
    return images.map(({ id, names, layer }) => ({ id, names: names ?? [], layer }));
  } catch (cause) {
    const hint = `${exportCommand(store)} makes it; --store names another`;
    throw new RequestError('BadRequest', `${store} is not a store for podman: images.json cannot be read`, { hint, cause });
  }
}
