// What becomes of a regular file: its bytes go into the image, or its digest does and its bytes into an object store.
import type { ByteString } from '../../core/image/bytes.js';
import { type VerityAlgorithm, objectPath, verityDigestFromBytes } from '../../core/image/digest.js';
import type { Node } from '../../core/image/tree.js';
import type { Fd, OwnedFd } from '../../core/kernel/fd.js';
import { statOpenEntry } from '../../core/kernel/stat.js';
import { type FileHasher, type SizedFile, hashFile } from './file-hasher.js';
import type { ObjectStore } from './object-store.js';
import { atPath, changedError } from './scan-error.js';
import type { NodeXattrs, XattrReader } from './scan-xattrs.js';

/** Files of up to this many bytes are in the image itself (lcfs-writer.h LCFS_BUILD_INLINE_FILE_SIZE_LIMIT). */
const INLINE_LIMIT = 64;

/** A regular file that is not empty, and in which state it was met. */
export interface FileTask {
  /** What it is called in errors. Bytes (latin1). */
  readonly path: string;
  readonly size: number;
  /** EntryStatus.state. */
  readonly state: string;
}

/** What its node lacks. Either `content` or `digest` is there. */
export interface FileResult {
  readonly content: ByteString | undefined;
  /** Raw. */
  readonly digest: ByteString | undefined;
  readonly xattrs: NodeXattrs;
}

/** What a thread works with. */
export interface FileReader {
  readonly hasher: FileHasher;
  readonly xattrs: XattrReader;
  /** Takes the files whose digest is asked for. */
  readonly store: ObjectStore | undefined;
}

/** Reads the file that `open` opens. Throws `RequestError` if it cannot be read, or is not in the state it was met in before and after. */
export function readScannedFile(reader: FileReader, task: FileTask, open: () => OwnedFd): FileResult {
  return atPath(task.path, () => {
    using file = open();
    return whileUnchanged(file, task, () => {
      const bytes = readBytes(reader, { file, size: task.size });
      return bytes && { ...bytes, xattrs: reader.xattrs.ofOpen(file) };
    });
  });
}

/** Runs what reads a file and returns its result; throws `RequestError` if the file is in another state before or after, or nothing is returned. */
export function whileUnchanged<T>(file: Fd, { path, state }: FileTask, read: () => T | undefined): T {
  const result = statOpenEntry(file).state === state ? read() : undefined;
  if (result === undefined || statOpenEntry(file).state !== state) throw changedError(path);
  return result;
}

function readBytes({ hasher, store }: FileReader, source: SizedFile): Omit<FileResult, 'xattrs'> | undefined {
  if (source.size <= INLINE_LIMIT) {
    const whole = hasher.hashWhole(source);
    return whole && { content: bytesOf(whole.bytes), digest: undefined };
  }
  const digest = store === undefined ? hashFile(hasher, source) : store.addFile(source);
  return digest && { content: undefined, digest: bytesOf(digest) };
}

function bytesOf(bytes: Uint8Array): ByteString {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1') as ByteString;
}

/** Gives a node what its file was found to hold. */
export function completeNode(node: Node, { content, digest, xattrs }: FileResult, algorithm: VerityAlgorithm): void {
  node.xattrs = xattrs;
  node.content = content;
  if (digest === undefined) return;
  node.digest = digest;
  node.payload = objectPath(verityDigestFromBytes(algorithm, Buffer.from(digest, 'latin1'))) as string as ByteString;
}
