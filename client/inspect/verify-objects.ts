// cfsctl verify: every object an image needs, read and compared with what the image says of it.
import { digestAlgorithm } from '../../core/image/digest.js';
import type { NeededObject } from '../../core/image/facts.js';
import { SyscallError } from '../../core/kernel/error.js';
import type { Fd } from '../../core/kernel/fd.js';
import { statFd } from '../../core/kernel/stat.js';
import { formatBytes, formatCount } from '../output.js';
import { type Progress, showProgress } from '../progress.js';
import { hashFile } from './hash-file.js';
import { openObject } from './objects.js';
import { showBytes } from './shown-bytes.js';

/** What is wrong with an object; the words stay as they are. */
export type Fault = 'missing' | 'not-a-file' | 'wrong-size' | 'wrong-digest' | 'unreadable' | 'no-digest' | 'no-path';

export interface FaultyObject {
  readonly object: NeededObject;
  readonly fault: Fault;
  /** For people. */
  readonly because: string;
}

export interface Verification {
  readonly objects: number;
  /** Of all objects, as the image states them. */
  readonly bytes: bigint;
  readonly faults: readonly FaultyObject[];
}

/** Reads every object of a store that an image needs. Faults are in the order of the paths. */
export function verifyObjects(objects: readonly NeededObject[], store: Fd): Verification {
  const bytes = objects.reduce((sum, { size }) => sum + size, 0n);
  const sorted = [...objects].sort((a, b) => ((a.path ?? '') < (b.path ?? '') ? -1 : 1));
  using progress = showProgress('verifying', Number(bytes));
  const faults = sorted.flatMap((object) => {
    const fault = findFault(object, store, progress);
    return fault === undefined ? [] : [{ object, ...fault }];
  });
  return { objects: objects.length, bytes, faults };
}

type Found = Pick<FaultyObject, 'fault' | 'because'>;

function findFault(object: NeededObject, store: Fd, progress: Progress): Found | undefined {
  try {
    return checkObject(object, store, progress);
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    return { fault: 'unreadable', because: `cannot be read (${error.code})` };
  }
}

function checkObject({ digest, path, size }: NeededObject, store: Fd, progress: Progress): Found | undefined {
  if (path === undefined) return { fault: 'no-path', because: 'the image does not say where it is' };
  const found = openObject(store, path);
  if (found === undefined) return { fault: 'missing', because: 'is missing' };
  if (found === false) return { fault: 'not-a-file', because: 'is not a regular file' };
  using file = found;
  const actual = statFd(file).size;
  if (BigInt(actual) !== size) return { fault: 'wrong-size', because: `has ${actual} bytes; the image says ${size}` };
  if (digest === undefined) return { fault: 'no-digest', because: 'the image does not say which digest it must have' };
  const algorithm = digestAlgorithm(digest);
  const measured = hashFile(file, [algorithm], progress).digests[algorithm];
  return measured === digest
    ? undefined
    : { fault: 'wrong-digest', because: `has the digest ${measured}; the image says ${digest}` };
}

export function formatVerification({ objects, bytes, faults }: Verification): string {
  if (faults.length === 0) return `${formatCount(objects, 'object')}, ${formatBytes(bytes)}: all as the image says\n`;
  return `${faults.length} of ${formatCount(objects, 'object')} ${faults.length === 1 ? 'is' : 'are'} not as the image says\n`;
}

export function formatFault({ object, because }: FaultyObject): string {
  return `${object.path === undefined ? '(no path)' : showBytes(object.path)}: ${because}\n`;
}

/** Field names stay. */
export function verificationAsJson({ objects, bytes, faults }: Verification): object {
  return {
    ok: faults.length === 0,
    objects,
    bytes,
    faults: faults.map(({ object, fault, because }) => ({
      path: object.path === undefined ? null : showBytes(object.path),
      digest: object.digest ?? null,
      fault,
      because,
    })),
  };
}
