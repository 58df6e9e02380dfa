// Container images in the forms in which other programs save them, made of layers that are given as tar archives.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';

import { tarFile } from './tar-file.js';

export type Packing = 'none' | 'gzip' | 'zstd';

export interface LayerMaking {
  readonly tar: Buffer;
  readonly packing?: Packing;
  /** What the blob is to be, where that is not the packed archive. */
  readonly blob?: Buffer;
  /** What is said to be its digest unpacked, where that is wrong. */
  readonly diffId?: string;
}

export interface ImageMaking {
  readonly layers: readonly (LayerMaking | Buffer)[];
  readonly architecture?: string;
  readonly variant?: string;
  readonly os?: string;
  /** Added to the configuration. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly tag?: string;
}

export type Files = Map<string, Buffer>;

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function pack({ tar, packing = 'none', blob }: LayerMaking): Buffer {
  if (blob !== undefined) return blob;
  if (packing === 'gzip') return gzipSync(tar);
  if (packing === 'none') return tar;
  const { status, stdout } = spawnSync('zstd', ['-q', '-c'], { input: tar, maxBuffer: 2 ** 28 });
  if (status !== 0) throw new Error(`zstd exited with ${status}`);
  return stdout;
}

function layersOf({ layers }: ImageMaking): LayerMaking[] {
  return layers.map((layer) => (Buffer.isBuffer(layer) ? { tar: layer } : layer));
}

export function configOf(making: ImageMaking): Buffer {
  const { architecture = 'amd64', os = 'linux', variant, config = {} } = making;
  const diffIds = layersOf(making).map(({ tar, diffId }) => diffId ?? `sha256:${sha256(tar)}`);
  const more = variant === undefined ? {} : { variant };
  return Buffer.from(JSON.stringify({ architecture, os, ...more, config, rootfs: { type: 'layers', diff_ids: diffIds } }));
}

const OCI = 'application/vnd.oci.image';
const SUFFIX: Readonly<Record<Packing, string>> = { none: '', gzip: '+gzip', zstd: '+zstd' };

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly [more: string]: unknown;
}

/** Puts a blob among the files of a layout. */
export function addBlob(files: Files, mediaType: string, bytes: Buffer): Descriptor {
  const digest = sha256(bytes);
  files.set(`blobs/sha256/${digest}`, bytes);
  return { mediaType, digest: `sha256:${digest}`, size: bytes.length };
}

/** Puts the blobs of an image among the files of a layout; returns the descriptor of its manifest. */
export function addImage(files: Files, making: ImageMaking): Descriptor {
  const { architecture = 'amd64', os = 'linux', variant, tag } = making;
  const config = addBlob(files, `${OCI}.config.v1+json`, configOf(making));
  const layers = layersOf(making).map((layer) =>
    addBlob(files, `${OCI}.layer.v1.tar${SUFFIX[layer.packing ?? 'none']}`, pack(layer)),
  );
  const manifest = { schemaVersion: 2, mediaType: `${OCI}.manifest.v1+json`, config, layers };
  return {
    ...addBlob(files, `${OCI}.manifest.v1+json`, Buffer.from(JSON.stringify(manifest))),
    platform: { architecture, os, ...(variant === undefined ? {} : { variant }) },
    ...(tag === undefined ? {} : { annotations: { 'org.opencontainers.image.ref.name': tag } }),
  };
}

/** An OCI layout with these images, or with an index of them if `nested`. */
export function ociLayout(images: readonly ImageMaking[], nested = false): Files {
  const files: Files = new Map([['oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}')]]);
  const manifests = images.map((image) => addImage(files, image));
  const index = { schemaVersion: 2, mediaType: `${OCI}.index.v1+json`, manifests };
  const top = nested
    ? { ...index, manifests: [addBlob(files, `${OCI}.index.v1+json`, Buffer.from(JSON.stringify(index)))] }
    : index;
  files.set('index.json', Buffer.from(JSON.stringify(top)));
  return files;
}

/** As podman save makes it. */
export function dockerArchive(images: readonly ImageMaking[]): Files {
  const files: Files = new Map();
  const manifest = images.map((making) => {
    const config = configOf(making);
    const name = `${sha256(config)}.json`;
    files.set(name, config);
    const layers = layersOf(making).map((layer) => {
      const layerName = `${sha256(layer.tar)}.tar`;
      files.set(layerName, pack(layer));
      return layerName;
    });
    return { Config: name, RepoTags: making.tag === undefined ? null : [making.tag], Layers: layers };
  });
  files.set('manifest.json', Buffer.from(JSON.stringify(manifest)));
  return files;
}

export function writeFiles(directory: string, files: Files): string {
  for (const [name, bytes] of files) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), bytes);
  }
  return directory;
}

export function writeArchive(path: string, files: Files): string {
  writeFileSync(path, tarFile(...[...files].map(([name, data]) => ({ name, data }))));
  return path;
}
