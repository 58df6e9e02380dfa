import { type ByteString, byteString, toByteString } from './bytes.js';
import type { ErofsInode } from './erofs-inode.js';
import type { ErofsVolume } from './erofs-volume.js';
import { FormatError } from './format-error.js';

// linux/fs/erofs/erofs_fs.h
const HEADER = 12; // sizeof(struct erofs_xattr_ibody_header)
const ENTRY = 4; // sizeof(struct erofs_xattr_entry)
const INDEX_SECURITY = 6; // EROFS_XATTR_INDEX_SECURITY, the largest
const LONG_PREFIX = 0x80; // EROFS_XATTR_LONG_PREFIX

const CAPABILITY = byteString('capability');

/**
 * Checks the xattrs of an inode and says whether security.capability is among them. Values are passed over, so that each entry costs the same: an entry shared by many
 * inodes may be large. A name filter that denies an xattr is not believed.
 */
export function hasCapability(volume: ErofsVolume, { xattrStart, xattrEnd }: ErofsInode): boolean {
  if (xattrStart === xattrEnd) return false;
  const { bytes } = volume;
  const shared = bytes.u8(xattrStart + 4);
  let at = xattrStart + HEADER + 4 * shared;
  if (at > xattrEnd) throw new FormatError('xattr-bounds', 'the shared xattrs of an inode leave its xattr area');
  let found = false;
  for (let id = xattrStart + HEADER; id < at; id += 4) {
    const entry = readEntry(volume, volume.xattrStart + 4 * bytes.u32(id), volume.end);
    found ||= entry.isCapability;
  }
  while (at < xattrEnd) {
    const entry = readEntry(volume, at, xattrEnd);
    found ||= entry.isCapability;
    at = entry.end;
  }
  return found;
}

/** Reads the entry at `at`, which must end at or before `limit`. */
function readEntry(volume: ErofsVolume, at: number, limit: number): { readonly isCapability: boolean; readonly end: number } {
  const { bytes } = volume;
  if (at + ENTRY > limit) throw new FormatError('xattr-bounds', 'an xattr is outside its area');
  const nameLength = bytes.u8(at);
  const end = Math.ceil((at + ENTRY + nameLength + bytes.u16(at + 2)) / 4) * 4;
  if (end > limit) throw new FormatError('xattr-bounds', 'an xattr is outside its area');
  const index = bytes.u8(at + 1);
  const name = nameLength > CAPABILITY.length ? undefined : toByteString(bytes.slice(at + ENTRY, at + ENTRY + nameLength));
  if (index >= LONG_PREFIX) return { isCapability: isLongCapability(volume, index - LONG_PREFIX, name), end };
  if (index > INDEX_SECURITY) throw new FormatError('xattr-prefix', 'an xattr has an unknown prefix');
  return { isCapability: index === INDEX_SECURITY && name === CAPABILITY, end };
}

/** The same for a name that starts with a prefix of the image's own. `name` is what follows; undefined if it is longer than what is looked for. */
function isLongCapability({ longPrefixes }: ErofsVolume, index: number, name: ByteString | undefined): boolean {
  if (name === undefined || !CAPABILITY.endsWith(name)) return false;
  if (longPrefixes === 'hidden')
    throw new FormatError(
      'xattr-prefixes',
      'the image hides the start of an xattr name that may be security.capability; make it without --xattr-prefix',
    );
  const prefix = longPrefixes[index];
  if (prefix === undefined) throw new FormatError('xattr-prefix', 'an xattr has an unknown prefix');
  return prefix.base === INDEX_SECURITY && prefix.infix + name === CAPABILITY;
}
