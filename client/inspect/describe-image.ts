// cfsctl info: what an image file is, without mounting it.
import type { VerityDigest } from '../../core/image/digest.js';
import { isCanonicalOf } from '../../core/image/canonical.js';
import { type ImageFacts, factsOf } from '../../core/image/facts.js';
import { formatBytes, formatFields } from '../output.js';
import { showProgress } from '../progress.js';
import { hashFile } from './hash-file.js';
import { type OpenedImage, openAnyImage, readComposefs } from './read-image.js';

export interface ImageDescription {
  readonly kind: 'composefs' | 'erofs';
  /** Bytes. */
  readonly size: number;
  readonly digests: Readonly<Record<'sha256' | 'sha512', VerityDigest>>;
  /** Undefined for a plain EROFS image, which is not read further. */
  readonly facts: ImageFacts | undefined;
}

/** Throws `RequestError`. */
export function describeImage(path: string): ImageDescription {
  using image = openAnyImage(path);
  const facts = image.header.type === 'composefs' ? readFactsOf(image) : undefined;
  using progress = showProgress('hashing', image.size);
  const { digests, size } = hashFile(image.file, ['sha256', 'sha512'], progress);
  return { kind: image.header.type, size, digests, facts };
}

function readFactsOf(image: OpenedImage): ImageFacts {
  const read = readComposefs(image);
  return { version: read.version, canonical: isCanonicalOf(read.bytes, read), ...factsOf(read.root) };
}

export function formatDescription({ size, digests, facts }: ImageDescription): string {
  const what = facts === undefined ? 'plain EROFS' : `composefs, format version ${facts.version}`;
  return formatFields([
    ['kind', what],
    ['digest', [digests.sha256, digests.sha512]],
    ['size', `${size} bytes`],
    ...(facts === undefined ? [NOT_READ] : formatFacts(facts)),
  ]);
}

const NOT_READ = ['contents', 'not read: cfsctl reads the trees of composefs images only'] as const;

function formatFacts(facts: ImageFacts): (readonly [string, string])[] {
  return [
    ['entries', String(facts.entries)],
    ['canonical', facts.canonical ? 'yes' : 'no: a writer would make other bytes of the same tree'],
    ['devices', String(facts.devices)],
    ['set-uid', String(facts.setUid)],
    ['set-gid', String(facts.setGid)],
    ['capabilities', String(facts.fileCapabilities)],
    ['largest uid', String(facts.largestUid)],
    ['largest gid', String(facts.largestGid)],
    ['objects', `${facts.objects.length}, ${formatBytes(bytesOf(facts))}`],
    ['unpinned', facts.unpinned === 0 ? '0' : `${facts.unpinned} files whose object has no digest in the image`],
    ['misdirected', facts.misdirected === 0 ? '0' : `${facts.misdirected} files whose object is not at the path of its digest`],
  ];
}

function bytesOf({ objects }: ImageFacts): bigint {
  return objects.reduce((sum, { size }) => sum + size, 0n);
}

/** Field names stay; what is not known of a plain EROFS image is null. */
export function describeAsJson({ kind, size, digests, facts }: ImageDescription): object {
  return {
    kind,
    version: facts?.version ?? null,
    size,
    digests,
    entries: facts?.entries ?? null,
    canonical: facts?.canonical ?? null,
    devices: facts?.devices ?? null,
    setUid: facts?.setUid ?? null,
    setGid: facts?.setGid ?? null,
    fileCapabilities: facts?.fileCapabilities ?? null,
    largestUid: facts?.largestUid ?? null,
    largestGid: facts?.largestGid ?? null,
    objects: facts?.objects.length ?? null,
    objectBytes: facts === undefined ? null : bytesOf(facts),
    unpinned: facts?.unpinned ?? null,
    misdirected: facts?.misdirected ?? null,
  };
}
