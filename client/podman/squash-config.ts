// The configuration and the manifest of an image whose layers have become one. OCI image-spec 1.1, config.md, manifest.md.
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { RequestError } from '../../core/wire/errors.js';
import { CONFIG } from './config-schema.js';

const EPOCH = '1970-01-01T00:00:00Z';

export interface SquashedImage {
  /** 64 hex digits. */
  readonly id: string;
  readonly created: string;
  readonly config: Buffer;
  readonly manifest: Buffer;
  /** `sha256:…` of the manifest. */
  readonly manifestDigest: string;
}

/**
 * The configuration as it was, but with one layer, whose archive has `size` bytes. What was done to make the layers stays in the history, as steps without a layer of their own. Throws
 * `RequestError` BadImage for what podman could not read.
 */
export function squash(source: Uint8Array, diffId: string, size: number): SquashedImage {
  const parsed = parseConfig(source);
  const created = parsed.created ?? EPOCH;
  const history = (parsed.history ?? []).map((step) => ({ ...step, empty_layer: true }));
  const config = toBytes({
    ...parsed,
    rootfs: { type: 'layers', diff_ids: [`sha256:${diffId}`] },
    history: [...history, { created, created_by: 'cfsctl podman export-store', comment: 'the layers of all steps, as one' }],
  });
  const id = sha256(config);
  const manifest = toBytes({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: `sha256:${id}`, size: config.length },
    layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: `sha256:${diffId}`, size }],
  });
  return { id, created, config, manifest, manifestDigest: `sha256:${sha256(manifest)}` };
}

function parseConfig(source: Uint8Array): z.infer<typeof CONFIG> {
  try {
    return CONFIG.parse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(source)));
  } catch (cause) {
    const where = cause instanceof z.ZodError ? `: ${cause.issues[0]?.path.join('.')}: ${cause.issues[0]?.message}` : '';
    throw new RequestError('BadImage', `the configuration of the image is malformed${where}`, { cause });
  }
}

function toBytes(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
