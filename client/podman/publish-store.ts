// The lists of images and layers of a store for podman, and what they name. github.com/containers/storage, images.go, layers.go.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type SquashedImage, sha256 } from './squash-config.js';
import { DRAFT, makeOpenDirectory, putChangedFile, putLockedFile, remove } from './store-files.js';
import { type LayerMarker, bigDataName, linkName } from './store-layout.js';

export interface PublishedImage extends SquashedImage {
  readonly names: readonly string[];
  readonly layer: LayerMarker;
}

interface Record {
  readonly id: string;
  readonly [field: string]: unknown;
}

/**
 * Makes the store list these images, whose layers are there already, and no others. What is new is there before it is listed, and what goes is listed no more
 * before it goes: a reader always finds the layer of an image that it has found.
 */
export function publish(store: string, images: readonly PublishedImage[]): void {
  for (const image of images) writeData(store, image);
  const layers = listOf(images.map(layerRecord));
  const both = listOf([...readList(store, 'layers'), ...layers]);
  writeList(store, 'layers', both);
  writeList(store, 'images', listOf(images.map(imageRecord)));
  writeList(store, 'layers', layers);
  removeUnlisted(store, new Set(images.map(({ id }) => id)), new Set(layers.map(({ id }) => id)));
}

/** Each id once, the last record of it, in the order of their ids. */
function listOf(records: readonly Record[]): Record[] {
  return [...new Map(records.map((record) => [record.id, record])).values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

function listPath(store: string, kind: 'layers' | 'images'): string {
  return join(store, `overlay-${kind}`, kind);
}

const list = z.array(z.looseObject({ id: z.string() }));

/** Nothing if there is no list yet, or if podman could not read it either. */
function readList(store: string, kind: 'layers' | 'images'): Record[] {
  try {
    return list.parse(JSON.parse(readFileSync(`${listPath(store, kind)}.json`, 'utf8')));
  } catch {
    return [];
  }
}

function writeList(store: string, kind: 'layers' | 'images', records: readonly Record[]): void {
  const path = listPath(store, kind);
  putLockedFile(`${path}.json`, `${path}.lock`, Buffer.from(JSON.stringify(records)));
}

function layerRecord({ layer, created }: PublishedImage): Record {
  const { diffId, size } = layer;
  return { id: diffId, created, 'diff-digest': `sha256:${diffId}`, 'diff-size': size };
}

/** What belongs to an image, by the names that podman asks for it. */
function dataOf({ id, config, manifest, manifestDigest }: SquashedImage): [key: string, bytes: Buffer][] {
  return [
    ['manifest', manifest],
    [`manifest-${manifestDigest}`, manifest],
    [`sha256:${id}`, config],
  ];
}

function imageRecord(image: PublishedImage): Record {
  const { id, manifestDigest, names, layer, created } = image;
  const data = dataOf(image);
  return {
    id,
    digest: manifestDigest,
    names,
    layer: layer.diffId,
    metadata: '{}',
    'big-data-names': data.map(([key]) => key),
    'big-data-sizes': Object.fromEntries(data.map(([key, bytes]) => [key, bytes.length])),
    'big-data-digests': Object.fromEntries(data.map(([key, bytes]) => [key, `sha256:${sha256(bytes)}`])),
    created,
  };
}

function writeData(store: string, image: PublishedImage): void {
  const directory = join(store, 'overlay-images', image.id);
  makeOpenDirectory(directory);
  for (const [key, bytes] of dataOf(image)) putChangedFile(join(directory, bigDataName(key)), bytes);
}

const ID = /^[0-9a-f]{64}$/;

/** False for what a run left that was killed. */
function isFinished(name: string): boolean {
  return !name.endsWith(DRAFT);
}

function removeUnlisted(store: string, images: ReadonlySet<string>, layers: ReadonlySet<string>): void {
  const sweep = (directory: string, isKept: (name: string) => boolean): void => {
    for (const name of readdirSync(join(store, directory))) if (!isKept(name)) remove(join(store, directory, name));
  };
  const links = new Set([...layers].map(linkName));
  sweep('overlay-images', (name) => /^images\.(?:json|lock)$/.test(name) || images.has(name));
  // A link that leads nowhere before the directory that it leads to.
  sweep('overlay/l', (name) => links.has(name));
  sweep('overlay', (name) => !ID.test(name) || layers.has(name));
  for (const id of images) sweep(`overlay-images/${id}`, isFinished);
  for (const id of layers) sweep(`overlay/${id}`, isFinished);
  sweep('overlay-layers', (name) => /^layers\.(?:json|lock)$/.test(name) || layers.has(name.replace(/\.tar-split\.gz$/, '')));
}
