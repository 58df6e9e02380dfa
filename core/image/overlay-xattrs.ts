import { type ByteString, byteString } from './bytes.js';

/** Keys overlayfs acts on. An image holds a tree's own ones escaped, `trusted.overlay.overlay.`, which overlayfs shows without the second part. */
export const OVERLAY = byteString('trusted.overlay.');
export const ESCAPED_OVERLAY = byteString('trusted.overlay.overlay.');

export const METACOPY = byteString('trusted.overlay.metacopy');
export const REDIRECT = byteString('trusted.overlay.redirect');
export const OPAQUE = byteString('trusted.overlay.opaque');

/** On a regular file that stands for a whiteout. */
export const ESCAPED_WHITEOUT = byteString('trusted.overlay.overlay.whiteout');
export const USER_WHITEOUT = byteString('user.overlay.whiteout');
/** On a directory with such files. */
export const ESCAPED_WHITEOUTS = byteString('trusted.overlay.overlay.whiteouts');
export const USER_WHITEOUTS = byteString('user.overlay.whiteouts');
export const ESCAPED_OPAQUE = byteString('trusted.overlay.overlay.opaque');
export const USER_OPAQUE = byteString('user.overlay.opaque');

export const SELINUX = byteString('security.selinux');

export const EMPTY = byteString('');

/** struct ovl_metacopy (linux/fs/overlayfs/overlayfs.h): version, total length, flags, digest algorithm (linux/fsverity.h FS_VERITY_HASH_ALG_*). */
const METACOPY_SHA256 = byteString('\x00\x24\x00\x01');
const METACOPY_SHA512 = byteString('\x00\x44\x00\x02');

/** Value of METACOPY for a raw digest of 32 or 64 bytes. */
export function metacopyOf(digest: ByteString | undefined): ByteString {
  if (digest === undefined) return EMPTY;
  return ((digest.length === 64 ? METACOPY_SHA512 : METACOPY_SHA256) + digest) as ByteString;
}

/** The digest in a value of METACOPY: undefined if it has none, false if the value is not well formed. */
export function digestOfMetacopy(value: ByteString): ByteString | undefined | false {
  if (value === '') return undefined;
  if (value.length === 36 && value.startsWith(METACOPY_SHA256)) return value.slice(4) as ByteString;
  if (value.length === 68 && value.startsWith(METACOPY_SHA512)) return value.slice(4) as ByteString;
  return false;
}

export function escapeKey(key: ByteString): ByteString {
  return key.startsWith(OVERLAY) ? ((ESCAPED_OVERLAY + key.slice(OVERLAY.length)) as ByteString) : key;
}

/** Inverse of escapeKey for a key that starts with ESCAPED_OVERLAY. */
export function unescapeKey(key: ByteString): ByteString {
  return (OVERLAY + key.slice(ESCAPED_OVERLAY.length)) as ByteString;
}
