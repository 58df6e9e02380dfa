// Whether all is there that podman wants of a layer. It is looked at, and not read: what the tar-split data says only the whole image could tell.
import { type Stats, lstatSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { RequestError } from '../../core/wire/errors.js';
import { isAttached } from './attach-layer.js';
import {
  LAYER_DIRECTORIES,
  type LayerMarker,
  MARKER,
  layerDirectory,
  linkName,
  linkPath,
  linkTarget,
  readMarker,
  tarSplitPath,
} from './store-layout.js';

/** The layers of ours in a store that are whole, in the order of their names. */
export function listWholeLayers(store: string): LayerMarker[] {
  return readdirSync(join(store, 'overlay'))
    .filter((name) => /^[0-9a-f]{64}$/.test(name))
    .sort()
    .flatMap((diffId) => (whyDamaged(store, diffId) === undefined ? (readMarker(layerDirectory(store, diffId)) ?? []) : []));
}

/** Which part of a layer is missing, or is not what it must be; undefined if none is. */
export function whyDamaged(store: string, diffId: string): string | undefined {
  const directory = layerDirectory(store, diffId);
  try {
    if (readMarker(directory) === undefined) return `${join(directory, MARKER)} is missing`;
  } catch (error) {
    if (error instanceof RequestError) return error.message;
    throw error;
  }
  const bad = partsOf(store, diffId).find(([path, isRight]) => {
    const status = statusOf(path);
    return status === undefined || !isRight(status, path);
  });
  return bad && `${bad[0]} is missing or damaged`;
}

/** Undefined if nothing is there, perhaps as what should be a directory above it is none. */
function statusOf(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return undefined;
    throw error;
  }
}

type Part = readonly [path: string, isRight: (status: Stats, path: string) => boolean];

function partsOf(store: string, diffId: string): Part[] {
  const directory = layerDirectory(store, diffId);
  const isDirectory = (status: Stats): boolean => status.isDirectory();
  return [
    ...LAYER_DIRECTORIES.map((name): Part => [join(directory, name), isDirectory]),
    [join(directory, 'link'), (status, path) => status.isFile() && readFileSync(path, 'utf8') === linkName(diffId)],
    [linkPath(store, diffId), (status, path) => status.isSymbolicLink() && readlinkSync(path) === linkTarget(diffId)],
    [tarSplitPath(store, diffId), (status) => status.isFile() && status.size > 0],
    // Attached, it is a directory: an administrator may work where users do.
    [join(directory, 'diff'), (status) => status.isFile() || isAttached(directory)],
  ];
}
