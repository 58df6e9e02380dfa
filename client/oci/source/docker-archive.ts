// A docker-archive, as docker save and podman save make it: manifest.json names the configuration and the layers.
import type { OciLimits } from '../limits.js';
import { badImage, config, dockerManifest, parseJson, readSmall, sha256Of } from './blobs.js';
import type { Candidate, SourceImage } from './image.js';
import type { Source } from './source.js';

/** Throws `RequestError` BadImage. */
export function listDockerImages(source: Source, limits: OciLimits): Candidate[] {
  const images = parseJson(source, 'manifest.json', dockerManifest, readSmall(source, 'manifest.json', limits));
  return images.map((image) => {
    const read = (): SourceImage => readImage(source, image.Config, image.Layers ?? [], limits);
    return { names: [...(image.RepoTags ?? []), image.Config], platform: () => read().parsed, read };
  });
}

function readImage(source: Source, name: string, layers: readonly string[], limits: OciLimits): SourceImage {
  const bytes = readSmall(source, name, limits);
  const digest = sha256Of(bytes);
  const [named] = /[0-9a-f]{64}(?=(\.json)?$)/.exec(name) ?? [];
  if (named !== undefined && digest !== `sha256:${named}`)
    throw badImage(source, `the configuration ${named} has the digest ${digest}`);
  const parsed = parseJson(source, 'the configuration', config, bytes);
  return {
    config: bytes,
    parsed,
    manifest: undefined,
    layers: layers.map((file, position) => ({ diffId: parsed.rootfs.diff_ids[position] ?? '', file, blob: undefined })),
  };
}
