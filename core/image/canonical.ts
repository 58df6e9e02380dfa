import { FormatError } from './format-error.js';
import { type ReadImage, type ReadOptions, readImage } from './reader.js';
import { planImage } from './writer.js';

/**
 * True if an image is the one that its tree and version have: every derived byte, from name filters to padding, is as a writer would have made it. `read` is what
 * readImage made of the same bytes; the size is compared before anything of that size is allocated.
 */
export function isCanonicalOf(bytes: Uint8Array, read: Pick<ReadImage, 'root' | 'version'>): boolean {
  try {
    const plan = planImage(read.root, read.version);
    if (plan.size !== bytes.length) return false;
    const again = new Uint8Array(plan.size);
    plan.write(again);
    return areEqual(bytes, again);
  } catch (error) {
    if (error instanceof FormatError) return false;
    throw error;
  }
}

/** The same from the bytes alone; throws FormatError if the reader refuses them. */
export function isCanonical(bytes: Uint8Array, options: ReadOptions = {}): boolean {
  return isCanonicalOf(bytes, readImage(bytes, options));
}

function areEqual(a: Uint8Array, b: Uint8Array): boolean {
  for (let at = 0; at < a.length; at += 1) if (a[at] !== b[at]) return false;
  return a.length === b.length;
}
