// An OCI layout: index.json, manifests and configurations, all blobs by digest. (OCI image specification, "Image Layout")
import type { OciLimits } from '../limits.js';
import {
  type Descriptor,
  type OciPlatform,
  badImage,
  blobName,
  config,
  index,
  layoutFile,
  manifest,
  parseJson,
  readBlob,
  readSmall,
} from './blobs.js';
import type { Candidate, SourceImage } from './image.js';
import type { Source } from './source.js';

const INDEXES: readonly string[] = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
];
const MANIFESTS: readonly string[] = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
];
const CONFIGS: readonly string[] = ['application/vnd.oci.image.config.v1+json', 'application/vnd.docker.container.image.v1+json'];
const LAYERS =
  /^application\/vnd\.(oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+gzip|\+zstd)?|docker\.image\.rootfs\.(diff|foreign\.diff)\.tar(\.gzip|\.zstd)?)$/;

/** An index of indexes is as deep as it gets. */
const MAX_DEPTH = 3;
const MAX_INDEXES = 64;
const MAX_IMAGES = 1024;
/** By which people know an image: of OCI, and of Docker, whose other one is the tag alone. */
const NAMES: readonly string[] = ['org.opencontainers.image.ref.name', 'io.containerd.image.name'];

/** Throws `RequestError` BadImage. */
export function listLayoutImages(source: Source, limits: OciLimits): Candidate[] {
  parseJson(source, 'oci-layout', layoutFile, readSmall(source, 'oci-layout', limits));
  const found = new Map<string, { descriptor: Descriptor; names: Set<string> }>();
  let indexes = 0;
  const walk = (bytes: Buffer, what: string, inherited: readonly string[], depth: number): void => {
    indexes += 1;
    if (indexes > MAX_INDEXES) throw badImage(source, `it has more than ${MAX_INDEXES} indexes`);
    for (const each of parseJson(source, what, index, bytes).manifests) {
      const names = [...inherited, ...referenceOf(each)];
      if (INDEXES.includes(each.mediaType)) {
        if (depth === MAX_DEPTH) throw badImage(source, `indexes are nested more than ${MAX_DEPTH} deep`);
        walk(readBlob(source, each, limits), `the index ${each.digest}`, [...names, each.digest], depth + 1);
      } else if (MANIFESTS.includes(each.mediaType) && !isAttestation(each)) {
        const known = found.get(each.digest) ?? { descriptor: each, names: new Set() };
        for (const name of [...names, each.digest]) known.names.add(name);
        found.set(each.digest, known);
        if (found.size > MAX_IMAGES) throw badImage(source, `it has more than ${MAX_IMAGES} images`);
      }
    }
  };
  walk(readSmall(source, 'index.json', limits), 'index.json', [], 1);
  if (found.size === 0) throw badImage(source, 'index.json leads to no image');
  return [...found.values()].map((each) => candidateOf(source, each, limits));
}

function referenceOf({ annotations }: Descriptor): string[] {
  return NAMES.flatMap((key) => annotations?.[key] ?? []);
}

/** What builders put beside an image to tell of it. */
function isAttestation({ annotations, platform }: Descriptor): boolean {
  return annotations?.['vnd.docker.reference.type'] !== undefined || platform?.os === 'unknown';
}

function candidateOf(
  source: Source,
  { descriptor: found, names }: { descriptor: Descriptor; names: ReadonlySet<string> },
  limits: OciLimits,
): Candidate {
  return {
    names: [...names],
    platform: (): OciPlatform => found.platform ?? readImage(source, found, limits).parsed,
    read: () => readImage(source, found, limits),
  };
}

function readImage(source: Source, found: Descriptor, limits: OciLimits): SourceImage {
  const bytes = readBlob(source, found, limits);
  const { config: configuration, layers } = parseJson(source, `the manifest ${found.digest}`, manifest, bytes);
  if (!CONFIGS.includes(configuration.mediaType))
    throw badImage(source, `the manifest ${found.digest} is not that of a container image`);
  const configBytes = readBlob(source, configuration, limits);
  const parsed = parseJson(source, `the configuration ${configuration.digest}`, config, configBytes);
  return {
    config: configBytes,
    parsed,
    manifest: bytes,
    layers: layers.map((layer, position) => ({
      diffId: parsed.rootfs.diff_ids[position] ?? '',
      file: blobName(requireLayer(source, layer).digest),
      blob: layer,
    })),
  };
}

function requireLayer(source: Source, layer: Descriptor): Descriptor {
  if (LAYERS.test(layer.mediaType)) return layer;
  throw badImage(source, `the layer ${layer.digest} is of a type that is not known here`);
}
