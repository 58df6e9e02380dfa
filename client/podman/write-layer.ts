// Makes of a composefs image of a repository what podman needs to know of it as a layer, reading every byte of its files once.
import { createHash } from 'node:crypto';
import type { ByteString } from '../../core/image/bytes.js';
import type { VerityDigest } from '../../core/image/digest.js';
import type { Node } from '../../core/image/tree.js';
import type { Fd } from '../../core/kernel/fd.js';
import { readAt, writeAllAt } from '../../core/kernel/file.js';
import { RequestError } from '../../core/wire/errors.js';
import { openObject } from '../inspect/objects.js';
import { readComposefs } from '../inspect/read-image.js';
import { openImageOf } from '../repository/needs.js';
import { canonicalTar } from './canonical-tar.js';
import { createCrc64 } from './crc64.js';
import { TAR_END, paddingOf, payloadSize } from './tar-header.js';
import { createTarSplit } from './tar-split.js';

export interface LayerFacts {
  /** sha256 of the canonical archive: 64 hex digits. */
  readonly diffId: string;
  /** Bytes of the archive. */
  readonly size: number;
  /** Permissions of the root directory. */
  readonly rootMode: number;
}

/** Bytes read at once. */
const PIECE = 1 << 20;

/**
 * Writes the tar-split data of an image to an empty file. `root` is the repository. Throws `RequestError`: NoSuchImage, BadImage, NotSupported for plain EROFS.
 */
export function writeLayer(root: Fd, digest: VerityDigest, tarSplit: Fd): LayerFacts {
  const tree = readTree(root, digest);
  let end = 0;
  const split = createTarSplit((bytes) => {
    writeAllAt(tarSplit, bytes, end);
    end += bytes.length;
  });
  const hash = createHash('sha256');
  let size = 0n;
  const addSegment = (bytes: Uint8Array): void => {
    hash.update(bytes);
    split.addSegment(bytes);
    size += BigInt(bytes.length);
  };
  const piece = Buffer.allocUnsafe(PIECE);
  let padding: Uint8Array = Buffer.alloc(0);
  for (const { path, header, payload } of canonicalTar(tree)) {
    addSegment(Buffer.concat([padding, header]));
    padding = Buffer.alloc(0);
    if (payload === undefined) {
      split.addFile(path, 0n, undefined);
      continue;
    }
    const crc = createCrc64();
    for (const bytes of readPayload(root, payload, piece)) {
      hash.update(bytes);
      crc.update(bytes);
    }
    const length = payloadSize(payload);
    split.addFile(path, length, crc.digest());
    size += length;
    padding = paddingOf(length);
  }
  addSegment(Buffer.concat([padding, TAR_END]));
  split.finish();
  return { diffId: hash.digest('hex'), size: Number(size), rootMode: tree.mode & 0o7777 };
}

function readTree(root: Fd, digest: VerityDigest): Node {
  using image = openImageOf(root, digest);
  if (image === undefined)
    throw new RequestError('NoSuchImage', `the repository has no image ${digest}`, { hint: 'cfsctl fsck' });
  return readComposefs(image).root;
}

/** Exactly as many bytes as the image says, in pieces that share one buffer. */
function* readPayload(root: Fd, node: Node, piece: Buffer): Generator<Uint8Array, void, void> {
  if (node.content !== undefined) return yield Buffer.from(node.content, 'latin1');
  using object = openObject(root, `objects/${node.payload ?? ''}` as ByteString) || undefined;
  if (object === undefined) throw damaged(node);
  const size = Number(node.size);
  for (let done = 0; done < size;) {
    const count = readAt(object, piece, done, Math.min(piece.length, size - done));
    if (count === 0) throw damaged(node);
    yield piece.subarray(0, count);
    done += count;
  }
}

function damaged({ payload }: Node): RequestError {
  return new RequestError('Failed', `the object ${payload ?? ''} of the image is missing or too short`, { hint: 'cfsctl fsck' });
}
