import type { OciLayer } from './records.js';
import { sha256Of } from './source/blobs.js';

/** The manifest of an image whose source has none: that of the same image with its layers unpacked. */
export function composeManifest(config: Uint8Array, layers: readonly OciLayer[]): Buffer {
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: sha256Of(config), size: config.length },
    layers: layers.map(({ diffId, size }) => ({ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: diffId, size })),
  };
  return Buffer.from(JSON.stringify(manifest));
}
