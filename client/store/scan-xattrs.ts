import { type ByteString } from '../../core/image/bytes.js';
import { FormatError } from '../../core/image/format-error.js';
import { MAX_XATTRS_SIZE, NO_XATTRS, xattrsSize } from '../../core/image/tree.js';
import type { Fd } from '../../core/kernel/fd.js';
import { type Xattrs, readXattrs, readXattrsAt } from '../../core/kernel/xattr.js';

export interface XattrOptions {
  readonly skipXattrs?: boolean | undefined;
  readonly userXattrs?: boolean | undefined;
}

export type NodeXattrs = ReadonlyMap<ByteString, ByteString>;

/** Reads the xattrs that an image takes over. Throws FormatError if they are more than it can hold. */
export interface XattrReader {
  ofOpen(file: Fd): NodeXattrs;
  /** Of an entry of a directory, without opening it; a symlink's own. */
  ofEntry(directory: Fd, name: string): NodeXattrs;
}

export function createXattrReader({ skipXattrs, userXattrs }: XattrOptions): XattrReader {
  if (skipXattrs === true) return { ofOpen: () => NO_XATTRS, ofEntry: () => NO_XATTRS };
  const wanted = userXattrs === true ? (key: string) => key.startsWith('user.') : () => true;
  return {
    ofOpen: (file) => requireFitting(readXattrs(file, wanted)),
    ofEntry: (directory, name) => requireFitting(readXattrsAt(directory, name, wanted)),
  };
}

function requireFitting(read: Xattrs): NodeXattrs {
  if (read.size === 0) return NO_XATTRS;
  const xattrs = read as NodeXattrs;
  const size = xattrsSize(xattrs);
  if (size <= MAX_XATTRS_SIZE) return xattrs;
  throw new FormatError(
    'xattrs-size',
    `the extended attributes take ${size} bytes; an image holds at most ${MAX_XATTRS_SIZE} for a file`,
  );
}
