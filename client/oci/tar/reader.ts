// Takes an archive apart as its bytes come, and holds no more of it than one header and the extension headers of one entry.
import { FormatError } from '../../../core/image/format-error.js';
import { type TarEntry, createEntryAssembler } from './entry.js';
import { TAR_BLOCK } from './header.js';

export interface TarSink {
  entry(entry: TarEntry): void;
  /** The next bytes of the last entry. They are valid during the call. */
  data(bytes: Buffer): void;
  /** All bytes of the last entry, which has some, were given. */
  endOfData(): void;
}

export interface TarReader {
  /** Takes any number of bytes. Throws FormatError, and what the sink throws. */
  push(bytes: Buffer): void;
  /** No more bytes come. Throws FormatError if some are missing. */
  end(): void;
}

/** Writers fill up to the size of a tape's block, of which the largest known has 1 MiB. */
const MAX_PADDING = 1 << 20;

export function createTarReader(sink: TarSink): TarReader {
  const assembler = createEntryAssembler();
  /** A header, or an extension with its padding, that came in part. */
  let kept = Buffer.allocUnsafeSlow(TAR_BLOCK);
  let filled = 0;
  let state: 'header' | 'extension' | 'data' | 'padding' | 'trailer' = 'header';
  let extensionSize = 0;
  /** Bytes that are still to come of what `state` says. */
  let missing = TAR_BLOCK;
  let padding = 0;
  let trailer = 0;

  const expect = (next: typeof state, bytes: number): void => {
    state = next;
    missing = bytes;
    filled = 0;
  };
  const takeHeader = (block: Buffer): void => {
    const following = assembler.takeHeader(block);
    if (following.is === 'end') return expect('trailer', Infinity);
    if (following.is === 'extension') {
      extensionSize = following.size;
      const length = padded(extensionSize);
      if (length > kept.length) kept = Buffer.allocUnsafeSlow(length);
      if (length > 0) return expect('extension', length);
      assembler.takeExtension(kept.subarray(0, 0));
      return expect('header', TAR_BLOCK);
    }
    const { size } = following.entry;
    sink.entry(following.entry);
    padding = padded(size) - size;
    if (size > 0) expect('data', size);
    else expect('header', TAR_BLOCK);
  };
  /** The whole of something that is looked at at once; undefined while some of it is missing. */
  const gather = (bytes: Buffer): Buffer | undefined => {
    const wanted = filled + missing;
    if (filled === 0 && bytes.length === wanted) return bytes;
    bytes.copy(kept, filled);
    filled += bytes.length;
    missing -= bytes.length;
    return missing === 0 ? kept.subarray(0, wanted) : undefined;
  };
  const takeData = (bytes: Buffer): void => {
    missing -= bytes.length;
    sink.data(bytes);
    if (missing > 0) return;
    sink.endOfData();
    if (padding > 0) expect('padding', padding);
    else expect('header', TAR_BLOCK);
  };
  const takeTrailer = (bytes: Buffer): void => {
    trailer += bytes.length;
    if (trailer > MAX_PADDING) throw new FormatError('tar-trailer', 'too much follows the end of the archive');
    if (bytes.some((byte) => byte !== 0)) throw new FormatError('tar-trailer', 'something follows the end of the archive');
  };
  const take = (bytes: Buffer): void => {
    if (state === 'data') return takeData(bytes);
    if (state === 'trailer') return takeTrailer(bytes);
    if (state === 'padding') {
      missing -= bytes.length;
      if (missing === 0) expect('header', TAR_BLOCK);
      return;
    }
    const whole = gather(bytes);
    if (whole === undefined) return;
    if (state === 'header') return takeHeader(whole);
    assembler.takeExtension(whole.subarray(0, extensionSize));
    expect('header', TAR_BLOCK);
  };

  return {
    push(bytes) {
      for (let at = 0; at < bytes.length;) {
        const part = Math.min(missing, bytes.length - at);
        take(bytes.subarray(at, at + part));
        at += part;
      }
    },
    end() {
      // Archives without the blocks of zeros at their end are accepted, as by other programs; sizes and digests are checked elsewhere.
      if (state === 'trailer') return;
      if (state !== 'header' || filled > 0) throw new FormatError('tar-truncated', 'the archive ends within an entry');
      assembler.end();
    },
  };
}

function padded(size: number): number {
  return Math.ceil(size / TAR_BLOCK) * TAR_BLOCK;
}
