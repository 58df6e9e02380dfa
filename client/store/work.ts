// Work that threads can share, and how it is done by the one that has it.
import { type VerityAlgorithm, digestHex } from '../../core/image/digest.js';
import { duplicateNumber } from '../../core/kernel/fd.js';
import { type FileHasher, createFileHasher } from './file-hasher.js';
import { type ObjectStore, objectStoreIn } from './object-store.js';
import { atPath } from './path-error.js';
import { type XattrOptions, createXattrReader } from './scan-xattrs.js';
import { type FileReader, type FileResult, type FileTask, readScannedFile } from './scanned-file.js';

/** Files that one thread reads from beginning to end. */
export interface FilesWork {
  readonly kind: 'files';
  readonly tasks: readonly FileTask[];
}

/** One range of a long file. Whoever gives the work keeps the descriptors open until it is done. */
export interface RangeWork {
  readonly kind: 'range';
  /** What the file is called in errors (latin1). */
  readonly path: string;
  readonly file: number;
  readonly size: number;
  readonly offset: number;
  /** Where to copy the range to. */
  readonly target: number | undefined;
}

/** Files whose bytes are at hand, one after the other: each becomes an object. The bytes go over to the thread that does it. */
export interface BytesWork {
  readonly kind: 'bytes';
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly sizes: readonly number[];
}

export type Work = FilesWork | RangeWork | BytesWork;

/** Results of files in the order of their tasks; hashes of a range, undefined if the file is shorter than said; raw digests in the order of the sizes. */
export type Done =
  | { readonly kind: 'bytes'; readonly digests: readonly Uint8Array[] }
  | { readonly kind: 'files'; readonly results: readonly FileResult[] }
  | { readonly kind: 'range'; readonly hashes: Uint8Array | undefined };

/** What the threads of one scan have in common. Descriptors are numbers that the scan keeps open. */
export interface Surroundings {
  readonly root: number;
  /** What the root is called in errors (latin1). */
  readonly shown: string;
  readonly algorithm: VerityAlgorithm;
  readonly store: { readonly directory: number; readonly path: string } | undefined;
  readonly xattrs: XattrOptions;
}

/** Throws `RequestError` that names the path at fault. */
export function doWork(reader: FileReader, work: Work): Done {
  if (work.kind === 'files') return { kind: 'files', results: work.tasks.map((task) => readScannedFile(reader, task)) };
  if (work.kind === 'bytes') return { kind: 'bytes', digests: storeBytes(reader, work) };
  const { path, file, target, size, offset } = work;
  const copy = target === undefined ? undefined : reader.store?.copyTo({ raw: target });
  return atPath(path, () => ({ kind: 'range', hashes: reader.hasher.hashRange({ file: { raw: file }, size }, offset, copy) }));
}

function storeBytes({ store }: FileReader, { bytes, sizes }: BytesWork): Uint8Array[] {
  if (store === undefined) throw new Error('there is no store to put bytes into');
  let at = 0;
  return sizes.map((size) => {
    at += size;
    return Buffer.from(digestHex(store.addBytes(bytes.subarray(at - size, at))), 'hex');
  });
}

/** A reader of a thread's own: its own buffer, its own objects waiting for their names. */
export function createFileReader(surroundings: Surroundings): FileReader {
  const { algorithm, store } = surroundings;
  const hasher = createFileHasher(algorithm);
  return fileReaderOf(surroundings, hasher, store && objectStoreIn(duplicateNumber(store.directory), store.path, hasher));
}

export function fileReaderOf(
  { root, shown, xattrs }: Surroundings,
  hasher: FileHasher,
  store: ObjectStore | undefined,
): FileReader {
  return { root: { raw: root }, shown, hasher, xattrs: createXattrReader(xattrs), store };
}
