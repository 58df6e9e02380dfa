// What a detached signature over an fs-verity digest signs, and how long one may be: the kernel's numbers.
import { digestAlgorithm, digestHex, type VerityDigest } from './digest.js';
import { ALGORITHM_ID } from './verity-tree.js';

/** FS_VERITY_MAX_SIGNATURE_SIZE of fs/verity/fsverity_private.h, in bytes; those that `fsverity sign` makes have a few hundred. */
export const MAX_SIGNATURE_BYTES = 16_384 - 256;

const MAGIC = 'FSVerity';

/** struct fsverity_formatted_digest of linux/fsverity.h: magic, algorithm, size of the digest (both 16 bits, little-endian), digest. */
export function formattedDigest(digest: VerityDigest): Uint8Array {
  const hex = digestHex(digest);
  const size = hex.length / 2;
  const bytes = new Uint8Array(MAGIC.length + 4 + size);
  for (let at = 0; at < MAGIC.length; at += 1) bytes[at] = MAGIC.charCodeAt(at);
  const view = new DataView(bytes.buffer);
  view.setUint16(MAGIC.length, ALGORITHM_ID[digestAlgorithm(digest)], true);
  view.setUint16(MAGIC.length + 2, size, true);
  for (let at = 0; at < size; at += 1) bytes[MAGIC.length + 4 + at] = Number.parseInt(hex.slice(2 * at, 2 * at + 2), 16);
  return bytes;
}
