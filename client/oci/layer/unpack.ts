// The bytes of a layer, unpacked as they come.
import { Readable, pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { ZSTDDecoder } from 'zstddec/stream';
import { FormatError } from '../../../core/image/format-error.js';

const PIECE = 1 << 18;

type Packing = 'none' | 'gzip' | 'zstd';

const REFUSED: Readonly<Record<string, string>> = { bzip2: '425a68', xz: 'fd377a585a00', lz4: '04224d18' };

/** By the first bytes, which say it more reliably than media types do. Throws FormatError. */
export function packingOf(start: Buffer): Packing {
  const hex = start.subarray(0, 6).toString('hex');
  if (hex.startsWith('1f8b')) return 'gzip';
  // A frame, or one that is to be skipped, with which zstd:chunked and pzstd start.
  if (hex.startsWith('28b52ffd') || /^5[0-9a-f]2a4d18/.test(hex)) return 'zstd';
  for (const [name, magic] of Object.entries(REFUSED))
    if (hex.startsWith(magic)) throw new FormatError('packing', `it is packed with ${name}, which is not known here`);
  return 'none';
}

/** What comes of the pieces, which must not change for 'gzip'. Throws FormatError if they are damaged. */
export function unpack(packing: Packing, pieces: Iterable<Buffer>): AsyncIterable<Buffer> | Iterable<Buffer> {
  if (packing === 'gzip') return gunzip(pieces);
  return packing === 'zstd' ? unzstd(pieces) : pieces;
}

async function* gunzip(pieces: Iterable<Buffer>): AsyncGenerator<Buffer, void, void> {
  // In another thread, of libuv.
  const unpacked = pipeline(Readable.from(pieces, { highWaterMark: 2 }), createGunzip({ chunkSize: PIECE }), () => undefined);
  try {
    for await (const bytes of unpacked) yield bytes as Buffer;
  } catch (cause) {
    const { code = '' } = cause as NodeJS.ErrnoException;
    if (code.startsWith('Z_')) throw new FormatError('gzip', `it is damaged, or cut off (${code})`);
    throw cause;
  }
}

/** libzstd refuses windows of more than 128 MiB by itself. */
async function* unzstd(pieces: Iterable<Buffer>): AsyncGenerator<Buffer, void, void> {
  const decoder = new ZSTDDecoder();
  await decoder.init();
  // The decoder does not look whether libzstd reports an error: it would go on asking for ever. Each call takes a byte or gives one, or is the last.
  let idle = 0;
  let size = 0;
  function* counted(): Generator<Uint8Array, void, void> {
    for (const piece of pieces) {
      idle = 0;
      size = piece.length;
      yield piece;
    }
  }
  try {
    for (const { buffer, byteOffset, length } of decoder.decodeStreaming(counted())) {
      idle = length === 0 ? idle + 1 : 0;
      if (idle > size) throw new FormatError('zstd', 'it is damaged, or needs more than 128 MiB to be unpacked');
      if (length > 0) yield Buffer.from(buffer as ArrayBuffer, byteOffset, length);
    }
  } catch (cause) {
    if (cause instanceof Error && cause.message.startsWith('Incomplete stream')) throw new FormatError('zstd', 'it is cut off');
    throw cause;
  }
}
