import { parseComposefsHeader } from './composefs-header.js';
import { parseErofsSuperblock } from './erofs-superblock.js';
import { FormatError } from './format-error.js';
import type { ImageHeader } from './image-header.js';

export type { ImageHeader } from './image-header.js';

/** What parseSuperblock has to see: this many bytes from offset 0, or the whole file if it is shorter. */
export const SUPERBLOCK_WINDOW = 4096;

const COMPOSEFS_MAGIC = 0xd078629a; // libcomposefs lcfs-erofs.h LCFS_EROFS_MAGIC
const EROFS_MAGIC = 0xe0f5e1e2; // linux/magic.h EROFS_SUPER_MAGIC_V1
const EROFS_MAGIC_AT = 1024; // linux/fs/erofs/erofs_fs.h EROFS_SUPER_OFFSET

/** True if `firstBytes` have the magic number of an image of either kind. Nothing else is looked at. */
export function looksLikeImage(firstBytes: Uint8Array): boolean {
  const view = new DataView(firstBytes.buffer, firstBytes.byteOffset, firstBytes.byteLength);
  const has = (offset: number, magic: number): boolean => offset + 4 <= view.byteLength && view.getUint32(offset, true) === magic;
  return has(0, COMPOSEFS_MAGIC) || has(EROFS_MAGIC_AT, EROFS_MAGIC);
}

/**
 * Decides what kind of image this is and refuses one whose header or superblock is not well formed, so that the kernel never parses what this cannot.
 * `firstBytes` holds at least min(fileSize, SUPERBLOCK_WINDOW) bytes from offset 0; `fileSize` is in bytes. Throws FormatError.
 */
export function parseSuperblock(firstBytes: Uint8Array, fileSize: number): ImageHeader {
  if (!Number.isSafeInteger(fileSize) || fileSize < 0)
    throw new FormatError('file-size', 'the file size is not a whole number of bytes');
  const wanted = Math.min(fileSize, SUPERBLOCK_WINDOW);
  if (firstBytes.length < wanted)
    throw new FormatError('short-read', `${wanted} bytes of the image are needed, ${firstBytes.length} were read`);
  const bytes = firstBytes.subarray(0, wanted);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (wanted >= 4 && view.getUint32(0, true) === COMPOSEFS_MAGIC) return parseComposefsHeader(view, fileSize);
  refuseDamagedComposefs(view);
  return parseErofsSuperblock(view, fileSize);
}

/**
 * A composefs header whose magic alone is damaged would pass as plain EROFS, for which bytes 0-1023 are free, and its stubs and redirects would show.
 * mkfs.erofs leaves zeros there and boot sectors start with code, so nothing honest has this shape.
 */
function refuseDamagedComposefs(view: DataView): void {
  if (view.byteLength < 1024 || view.getUint32(4, true) !== 1) return;
  if (view.getUint32(8, true) > 1 || view.getUint32(12, true) > 1) return;
  for (let at = 16; at < 1024; at += 1) if (view.getUint8(at) !== 0) return;
  throw new FormatError('composefs-magic', 'the image has a composefs header with a wrong magic number');
}
