// Blobs by digest, and small ones as JSON.
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { readAt } from '../../../core/kernel/file.js';
import { RequestError } from '../../../core/wire/errors.js';
import { quoteClientText } from '../../../core/wire/quote.js';
import type { OciLimits } from '../limits.js';
import type { Source, SourceFile } from './source.js';

/** `sha256:` and 64 digits: the one algorithm that images have. */
const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const size = z.int().min(0);
const text = z.string().max(1024);

const platform = z.object({ os: text, architecture: text, variant: text.optional() });

/** What is not named here means nothing to an import. (OCI image specification, "Content Descriptors") */
export const descriptor = z.object({
  mediaType: text,
  digest,
  size,
  platform: platform.optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});
export type Descriptor = z.infer<typeof descriptor>;
export type OciPlatform = z.infer<typeof platform>;

export const layoutFile = z.object({ imageLayoutVersion: z.literal('1.0.0') });
export const index = z.object({ schemaVersion: z.literal(2), manifests: z.array(descriptor) });
export const manifest = z.object({ schemaVersion: z.literal(2), config: descriptor, layers: z.array(descriptor) });
export const config = z.object({
  os: text,
  architecture: text,
  variant: text.optional(),
  rootfs: z.object({ type: z.literal('layers'), diff_ids: z.array(digest) }),
});
export type ImageConfig = z.infer<typeof config>;

/** manifest.json of a docker-archive. */
export const dockerManifest = z
  .array(z.object({ Config: text, RepoTags: z.array(text).nullish(), Layers: z.array(text).nullable() }))
  .min(1);

export function badImage(source: Pick<Source, 'path'>, because: string, hint?: string, cause?: unknown): RequestError {
  return new RequestError('BadImage', `${source.path}: ${because}`, { hint, cause });
}

export function sha256Of(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

export function blobName(blob: string): string {
  return `blobs/sha256/${blob.slice('sha256:'.length)}`;
}

/** A file of a source that is read whole. Throws `RequestError` BadImage. */
export function readSmall(source: Source, name: string, { jsonBytes }: OciLimits): Buffer {
  using file = source.open(name);
  if (file === undefined) throw badImage(source, `${quoteClientText(name)} is missing`);
  if (file.size > jsonBytes) throw badImage(source, `${quoteClientText(name)} has ${file.size} bytes, more than ${jsonBytes}`);
  const bytes = Buffer.alloc(file.size);
  for (const piece of piecesOf(source, file)) piece.bytes.copy(bytes, piece.at);
  return bytes;
}

/** A blob that is read whole: what is returned has the size and the digest. Throws `RequestError` BadImage. */
export function readBlob(source: Source, wanted: Descriptor, limits: OciLimits): Buffer {
  const bytes = readSmall(source, blobName(wanted.digest), limits);
  if (bytes.length !== wanted.size)
    throw badImage(source, `the blob ${wanted.digest} has ${bytes.length} bytes, not ${wanted.size}`);
  const found = sha256Of(bytes);
  if (found !== wanted.digest) throw badImage(source, `the blob ${wanted.digest} has the digest ${found}`);
  return bytes;
}

/** Throws `RequestError` BadImage. */
export function parseJson<T>(source: Source, what: string, schema: z.ZodType<T>, bytes: Buffer): T {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw badImage(source, `${what} is not JSON`, undefined, cause);
  }
  const { data, error } = schema.safeParse(value);
  if (error === undefined) return data;
  const [issue] = error.issues;
  const where = issue === undefined || issue.path.length === 0 ? '' : `${quoteClientText(issue.path.join('.'))}: `;
  throw badImage(source, `${what} is not as it must be: ${where}${issue?.message ?? ''}`);
}

const PIECE = 1 << 18;

/** The bytes of a file, in one buffer that is used again for each piece unless `fresh`. Throws `RequestError` if it became shorter. */
export function* piecesOf(
  source: Source,
  { file, offset, size: length }: SourceFile,
  fresh = false,
): Generator<{ readonly bytes: Buffer; readonly at: number }, void, void> {
  let buffer = Buffer.allocUnsafeSlow(Math.min(PIECE, length));
  for (let at = 0; at < length;) {
    if (fresh) buffer = Buffer.allocUnsafeSlow(Math.min(PIECE, length - at));
    const count = readAt(file, buffer, offset + at, Math.min(buffer.length, length - at));
    if (count === 0) throw badImage(source, 'it became shorter while it was read');
    yield { bytes: buffer.subarray(0, count), at };
    at += count;
  }
}
