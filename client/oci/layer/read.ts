// A layer of a source: unpacked, checked against its digests, taken apart, its files stored.
import { createHash } from 'node:crypto';
import { FormatError } from '../../../core/image/format-error.js';
import { quoteClientText } from '../../../core/wire/quote.js';
import { showBytes } from '../../inspect/shown-bytes.js';
import type { ByteString } from '../../../core/image/bytes.js';
import type { Budget } from '../budget.js';
import type { Contents } from '../contents.js';
import { badImage, piecesOf } from '../source/blobs.js';
import type { SourceLayer } from '../source/image.js';
import type { Source, SourceFile } from '../source/source.js';
import { createTarReader } from '../tar/reader.js';
import { type LayerBuilder, createLayerBuilder } from './builder.js';
import { packingOf, unpack } from './unpack.js';

export interface ReadOptions {
  readonly budget: Budget;
  readonly contents: Contents;
  /** Told of bytes that were read. */
  readonly advance: (bytes: number) => void;
  readonly isCovered: (parts: readonly ByteString[]) => boolean;
  /** Paths whose contents are wanted although something covers them. Those below this layer are added. */
  readonly wanted: Set<string>;
}

export interface ReadLayer extends Pick<LayerBuilder, 'layer'> {
  /** Of the archive, unpacked. */
  readonly size: number;
}

/** Throws `RequestError` BadImage. */
export async function readLayer(source: Source, layer: SourceLayer, options: ReadOptions): Promise<ReadLayer> {
  const { budget, wanted, isCovered } = options;
  const own = new Set(wanted);
  const isHidden = (parts: readonly ByteString[]): boolean => isCovered(parts) && !own.has(parts.join('/'));
  for (const forget = budget.remember(); ; forget()) {
    const builder = createLayerBuilder({ budget, isHidden });
    const size = await readOnce(source, layer, options, builder);
    const { missed, linked } = builder;
    if (missed.size > 0 && [...missed].some((path) => !own.has(path))) {
      // A file that is hidden has another name that is not, and that came later: once more, to get its contents.
      for (const path of missed) own.add(path);
      continue;
    }
    for (const path of linked) wanted.add(path);
    return { layer: builder.layer, size };
  }
}

async function readOnce(source: Source, layer: SourceLayer, options: ReadOptions, builder: LayerBuilder): Promise<number> {
  using file = openBlob(source, layer);
  let at = 'its archive';
  const reader = createTarReader({
    entry(entry) {
      at = showBytes(entry.path as ByteString);
      const node = builder.add(entry);
      if (node !== undefined) options.contents.begin(node);
    },
    data: options.contents.add,
    endOfData: options.contents.end,
  });
  try {
    const { size, diffId, packed } = await unpackInto(source, file, options, reader.push);
    reader.end();
    at = 'its archive';
    requireDigest(source, layer, layer.diffId, diffId, 'unpacked');
    if (layer.blob !== undefined) requireDigest(source, layer, layer.blob.digest, packed, 'packed');
    return size;
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause;
    throw badImage(source, `the layer ${shortId(layer.diffId)}: ${at}: ${cause.message}`, undefined, cause);
  }
}

function openBlob(source: Source, { file, blob }: SourceLayer): SourceFile {
  const opened = source.open(file);
  if (opened === undefined) throw badImage(source, `the layer ${quoteClientText(file)} is missing`);
  if (blob === undefined || opened.size === blob.size) return opened;
  opened[Symbol.dispose]();
  throw badImage(source, `the layer ${blob.digest} has ${opened.size} bytes, not ${blob.size}`);
}

interface Unpacked {
  /** Unpacked. */
  readonly size: number;
  readonly diffId: string;
  /** Of the blob as it is stored. */
  readonly packed: string;
}

async function unpackInto(
  source: Source,
  file: SourceFile,
  { budget, advance }: ReadOptions,
  push: (bytes: Buffer) => void,
): Promise<Unpacked> {
  const hash = createHash('sha256');
  const packedHash = createHash('sha256');
  let size = 0;
  const packing = packingOf(startOf(source, file));
  function* packed(): Generator<Buffer, void, void> {
    for (const { bytes } of piecesOf(source, file, packing === 'gzip')) {
      // What is not packed is hashed once, below.
      if (packing !== 'none') packedHash.update(bytes);
      budget.addPacked(bytes.length);
      advance(bytes.length);
      yield bytes;
    }
  }
  const take = (bytes: Buffer): void => {
    size += bytes.length;
    budget.addUnpacked(bytes.length);
    hash.update(bytes);
    push(bytes);
  };
  if (packing === 'none') for (const bytes of packed()) take(bytes);
  else for await (const bytes of unpack(packing, packed())) take(bytes);
  const diffId = `sha256:${hash.digest('hex')}`;
  return { size, diffId, packed: packing === 'none' ? diffId : `sha256:${packedHash.digest('hex')}` };
}

function startOf(source: Source, file: SourceFile): Buffer {
  const { file: fd, offset, size } = file;
  const start = { file: fd, offset, size: Math.min(size, 6), [Symbol.dispose]: () => undefined };
  for (const { bytes } of piecesOf(source, start)) return bytes;
  return Buffer.alloc(0);
}

function requireDigest(source: Source, { diffId }: SourceLayer, wanted: string, found: string, what: string): void {
  if (found === wanted) return;
  throw badImage(source, `the layer ${shortId(diffId)} has, ${what}, the digest ${found}, not ${wanted}`);
}

function shortId(digest: string): string {
  return digest.slice(0, 'sha256:'.length + 12);
}
