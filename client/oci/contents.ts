// The files of the layers on their way into the object store. Small ones are put together for a thread to hash and write; a large one is written as it comes and
// hashed when it is there. No more of them is in memory than a few such pieces of work.
import { objectPath, verityDigestFromBytes } from '../../core/image/digest.js';
import type { ByteString } from '../../core/image/bytes.js';
import type { Node } from '../../core/image/tree.js';
import { byteStringOf } from '../store/byte-string.js';
import type { Draft } from '../store/drafts.js';
import type { Job } from '../store/file-pool.js';
import { hashRanges } from '../store/long-file.js';
import type { ObjectStore, WrittenObjects } from '../store/object-store.js';
import { INLINE_LIMIT } from '../store/scanned-file.js';
import { createThreads, doJobs } from '../store/threads.js';
import { type Surroundings, doWork, fileReaderOf } from '../store/work.js';

/** A job of small files ends with this many files or bytes; what is larger than that is a large file. */
const JOB = { files: 256, bytes: 4 << 20 };
/** With more jobs than this the calling thread does one itself. */
const MAX_WAITING = 2;

export interface Contents {
  /** What follows are the bytes of this file, which is completed then or later. */
  begin(node: Node): void;
  /** The bytes are valid during the call. Throws `RequestError` if they cannot be stored. */
  add(bytes: Buffer): void;
  /** All its bytes were given. */
  end(): void;
  /** Completes all files, and makes their objects durable but for those of the store that was given. Returns what other threads wrote. */
  finish(): Promise<WrittenObjects>;
  close(): Promise<void>;
}

/** A file that is being taken in. */
interface Open {
  readonly node: Node;
  readonly size: number;
  at: number;
  readonly target: Buffer | Draft;
}

export function createContents(store: ObjectStore, workerScript: string | undefined): Contents {
  const { algorithm } = store;
  const surroundings: Surroundings = {
    root: store.directory.raw,
    shown: store.path,
    algorithm,
    store: { directory: store.directory.raw, path: store.path },
    xattrs: { skipXattrs: true },
  };
  const reader = fileReaderOf(surroundings, store.hasher, store);
  const jobs: Job[] = [];
  const found = { files: 0, bytes: 0 };
  const threads = createThreads(surroundings, { ready: () => jobs, found }, { workerScript });
  const drafts = new Set<Draft>();
  let batch = newBatch();
  let open: Open | undefined;

  const complete = (node: Node, digest: Uint8Array): void => {
    node.digest = byteStringOf(digest);
    node.payload = objectPath(verityDigestFromBytes(algorithm, digest)) as string as ByteString;
  };
  const enqueue = (job: Job): void => {
    jobs.push(job);
    threads.exchange();
    while (jobs.length > MAX_WAITING) {
      const own = jobs.pop() as Job;
      own.done(doWork(reader, own.work));
      threads.exchange();
    }
  };
  const endBatch = (): void => {
    const { nodes, bytes, fill } = batch;
    if (nodes.length === 0) return;
    batch = newBatch();
    enqueue({
      work: { kind: 'bytes', bytes: bytes.subarray(0, fill), sizes: nodes.map(({ size }) => Number(size)) },
      done(result) {
        if (result.kind !== 'bytes') throw new Error(`a thread answered ${result.kind}`);
        result.digests.forEach((digest, index) => complete(nodes[index] as Node, digest));
      },
    });
  };
  const placeInBatch = (node: Node, size: number): Buffer => {
    if (batch.nodes.length >= JOB.files || batch.fill + size > JOB.bytes) endBatch();
    batch.nodes.push(node);
    batch.fill += size;
    return batch.bytes.subarray(batch.fill - size, batch.fill);
  };
  const openDraft = (size: number): Draft => {
    const draft = store.makeDraft(size);
    drafts.add(draft);
    return draft;
  };
  const targetOf = (node: Node, size: number): Buffer | Draft => {
    if (size <= INLINE_LIMIT) return Buffer.allocUnsafe(size);
    return size <= JOB.bytes ? placeInBatch(node, size) : openDraft(size);
  };
  const hashDraft = (draft: Draft, { node, size }: Open): void => {
    const task = { path: '', size, state: '' };
    hashRanges({ reader, task, enqueue }, draft.file, undefined, (digest) => {
      complete(node, digest);
      drafts.delete(draft);
      store.finishObject(draft, digest, size);
    });
  };

  return {
    begin(node) {
      const size = Number(node.size);
      found.files += 1;
      found.bytes += size;
      open = { node, size, at: 0, target: targetOf(node, size) };
    },
    add(bytes) {
      if (open === undefined) return;
      const { target, at } = open;
      if (Buffer.isBuffer(target)) bytes.copy(target, at);
      // Where nothing is written there are zeros.
      else if (!isZero(bytes)) store.copyTo(target.file)(bytes, at);
      open.at += bytes.length;
    },
    end() {
      const ended = open;
      open = undefined;
      if (ended === undefined) return;
      const { node, size, target } = ended;
      if (!Buffer.isBuffer(target)) hashDraft(target, ended);
      else if (size <= INLINE_LIMIT) node.content = byteStringOf(target);
    },
    async finish() {
      endBatch();
      await doJobs(reader, { ready: () => jobs, found }, threads, () => undefined);
      return await threads.sync();
    },
    async close() {
      await threads.close();
      for (const draft of drafts) draft[Symbol.dispose]();
    },
  };
}

interface Batch {
  readonly nodes: Node[];
  /** With a memory of its own, which goes over to a thread. */
  readonly bytes: Buffer<ArrayBuffer>;
  fill: number;
}

function newBatch(): Batch {
  return { nodes: [], bytes: Buffer.allocUnsafeSlow(JOB.bytes), fill: 0 };
}

const ZEROS = Buffer.alloc(1 << 16);

function isZero(bytes: Buffer): boolean {
  if (bytes[0] !== 0) return false;
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const part = bytes.subarray(at, at + ZEROS.length);
    if (part.compare(ZEROS, 0, part.length) !== 0) return false;
  }
  return true;
}
