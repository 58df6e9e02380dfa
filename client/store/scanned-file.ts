// What becomes of a regular file: its bytes go into the image, or its digest does and its bytes into an object store.
import type { ByteString } from '../../core/image/bytes.js';
import { type VerityAlgorithm, objectPath, verityDigestFromBytes } from '../../core/image/digest.js';
import type { Node } from '../../core/image/tree.js';
import type { Fd, OwnedFd } from '../../core/kernel/fd.js';
import { openFileBeneath } from '../../core/kernel/file.js';
import { statOpenEntry } from '../../core/kernel/stat.js';
import { byteStringOf } from './byte-string.js';
import { type FileHasher, type SizedFile, hashFile } from './file-hasher.js';
import type { ObjectStore } from './object-store.js';
import { atPath, changedError } from './path-error.js';
import type { NodeXattrs, XattrReader } from './scan-xattrs.js';

/** Files of up to this many bytes are in the image itself (lcfs-writer.h LCFS_BUILD_INLINE_FILE_SIZE_LIMIT). */
export const INLINE_LIMIT = 64;

/** A regular file that is not empty, and in which state it was met. */
export interface FileTask {
  /** Below the root of the scan, with a slash in front. Bytes (latin1). */
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
  /** Directory that is scanned. */
  readonly root: Fd;
  /** What it is called in errors (latin1). */
  readonly shown: string;
  readonly hasher: FileHasher;
  readonly xattrs: XattrReader;
  /** Takes the files whose digest is asked for. */
  readonly store: ObjectStore | undefined;
}

/** Reads a whole file. Throws `RequestError` if that cannot be done, or the file is not in the state it was met in any more. */
export function readScannedFile(reader: FileReader, task: FileTask, open = () => openScanned(reader, task)): FileResult {
  return atPath(reader.shown + task.path, () => {
    using file = open();
    const bytes = readBytes(reader, { file, size: task.size });
    const xattrs = reader.xattrs.ofOpen(file);
    // What was read is what the walk met, from then until now: neither another file nor another state of it.
    if (bytes === undefined || statOpenEntry(file).state !== task.state) throw changedError(reader.shown + task.path);
    return { ...bytes, xattrs };
  });
}

/** Opens the file a task speaks of, without waiting for what may have come in its place. */
export function openScanned({ root }: FileReader, { path }: FileTask): OwnedFd {
  return openFileBeneath(root, path.slice(1));
}

function readBytes({ hasher, store }: FileReader, source: SizedFile): Omit<FileResult, 'xattrs'> | undefined {
  if (source.size <= INLINE_LIMIT) {
    const whole = hasher.hashWhole(source);
    return whole && { content: byteStringOf(whole.bytes), digest: undefined };
  }
  const digest = store === undefined ? hashFile(hasher, source) : store.addFile(source);
  return digest && { content: undefined, digest: byteStringOf(digest) };
}

/** Gives a node what its file was found to hold. */
export function completeNode(node: Node, { content, digest, xattrs }: FileResult, algorithm: VerityAlgorithm): void {
  node.xattrs = xattrs;
  node.content = content;
  if (digest === undefined) return;
  node.digest = digest;
  node.payload = objectPath(verityDigestFromBytes(algorithm, Buffer.from(digest, 'latin1'))) as string as ByteString;
}
