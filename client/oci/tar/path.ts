// Names in an archive. They are taken relative to the root of the tree, and none leads out of it: `..` is refused.
import type { ByteString } from '../../../core/image/bytes.js';
import { FormatError } from '../../../core/image/format-error.js';
import { MAX_NAME, MAX_TARGET } from '../../../core/image/tree.js';

/** Deeper than any tree people use, and not too deep for those who walk through it. */
export const MAX_DEPTH = 256;

/** Parts of a name; none for the root itself. What is absolute counts from the root of the tree, as containers see it. Throws FormatError. */
export function splitTarPath(path: string): ByteString[] {
  if (path === '') throw new FormatError('path-empty', 'a name is empty');
  if (path.length > MAX_TARGET) throw new FormatError('path-length', `a name has more than ${MAX_TARGET} bytes`);
  if (path.includes('\0')) throw new FormatError('path-nul', 'a name holds a NUL');
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw new FormatError('path-parent', 'a name holds ..');
  if (parts.some((part) => part.length > MAX_NAME))
    throw new FormatError('path-part-length', `a part of a name has more than ${MAX_NAME} bytes`);
  if (parts.length > MAX_DEPTH) throw new FormatError('path-depth', `a name has more than ${MAX_DEPTH} parts`);
  return parts as ByteString[];
}
