import { FormatError } from '../../core/image/format-error.js';
import { type ReadImage, readImage } from '../../core/image/reader.js';
import { type ImageHeader, SUPERBLOCK_WINDOW, looksLikeImage, parseSuperblock } from '../../core/image/superblock.js';
import { type Fd, OwnedFd } from '../../core/kernel/fd.js';
import { readAt } from '../../core/kernel/file.js';
import { statFd } from '../../core/kernel/stat.js';
import { RequestError } from '../../core/wire/errors.js';
import { openRegularFile } from '../image.js';

/** Bytes of the largest composefs image that is read: it is held in memory, and a million entries, which have about this size, take some 2 GiB with their tree. */
const MAX_COMPOSEFS_SIZE = 2 ** 28;

/** An image file whose superblock is well formed. Closing it closes the file. */
export interface OpenedImage extends Disposable {
  /** As given on the command line. */
  readonly path: string;
  readonly file: OwnedFd;
  /** Bytes. */
  readonly size: number;
  readonly header: ImageHeader;
}

/** Opens an image of either kind. Throws `RequestError` BadRequest, or BadImage. */
export function openAnyImage(path: string): OpenedImage {
  return readAnyImage(path, openRegularFile(path, undefined));
}

/** The same of an open file, which it takes; `path` is what errors call it. */
export function readAnyImage(path: string, file: OwnedFd): OpenedImage {
  try {
    const { size } = statFd(file);
    const header = orBadImage(path, () => parseSuperblock(readPart(file, 0, Math.min(size, SUPERBLOCK_WINDOW)), size));
    return { path, file, size, header, [Symbol.dispose]: () => file.close() };
  } catch (error) {
    file.close();
    throw error;
  }
}

/** True if a file begins as an image of either kind does, well formed or not. Throws `RequestError` BadRequest. */
export function isImageFile(path: string): boolean {
  using file = openRegularFile(path, undefined);
  return looksLikeImage(readPart(file, 0, Math.min(statFd(file).size, SUPERBLOCK_WINDOW)));
}

export interface ComposefsImage extends ReadImage {
  readonly bytes: Uint8Array;
}

/** The tree of a composefs image, with files of any size. Throws `RequestError` BadImage, or NotSupported for what is not composefs. */
export function readComposefs({ path, file, size, header }: OpenedImage): ComposefsImage {
  if (header.type !== 'composefs')
    throw new RequestError('NotSupported', `${path} is a plain EROFS image; only the trees of composefs images are read here`, {
      hint: 'erofs-utils read it: dump.erofs --ls --path=/ IMAGE, or fsck.erofs --extract=DIR IMAGE',
    });
  if (size > MAX_COMPOSEFS_SIZE)
    throw new RequestError('NotSupported', `${path} has ${size} bytes; composefs images of up to ${MAX_COMPOSEFS_SIZE} are read`);
  const bytes = readPart(file, 0, size);
  return orBadImage(path, () => ({ bytes, ...readImage(bytes, { hugeFiles: true }) }));
}

/** Opens and reads a composefs image in one go. */
export function readComposefsFile(path: string): ComposefsImage {
  using image = openAnyImage(path);
  return readComposefs(image);
}

/** Exactly `size` bytes from an offset on. Throws `RequestError` BadImage if the file has become shorter. */
export function readPart(file: Fd, offset: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let done = 0; done < size;) {
    const count = readAt(file, bytes.subarray(done), offset + done);
    if (count === 0) throw new RequestError('BadImage', 'the image became shorter while it was read');
    done += count;
  }
  return bytes;
}

function orBadImage<T>(path: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause;
    throw new RequestError('BadImage', `${path}: ${cause.message}`, { cause });
  }
}
