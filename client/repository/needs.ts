// Which objects the images of a repository need.
import { posix } from 'node:path';
import { digestAlgorithm, objectPath, type VerityDigest } from '../../core/image/digest.js';
import { factsOf, type NeededObject } from '../../core/image/facts.js';
import type { Fd } from '../../core/kernel/fd.js';
import { RequestError } from '../../core/wire/errors.js';
import { hashFile } from '../inspect/hash-file.js';
import { type OpenedImage, openAnyImage, readAnyImage, readComposefs } from '../inspect/read-image.js';
import { openStoredImage } from './entries.js';

/** Objects of an image: none for a plain EROFS image. The file must have the digest. Throws `RequestError` BadImage. */
export function readNeeds(image: OpenedImage, digest: VerityDigest): readonly NeededObject[] {
  const algorithm = digestAlgorithm(digest);
  const { [algorithm]: measured } = hashFile(image.file, [algorithm]).digests as Record<string, VerityDigest>;
  if (measured !== digest) throw new RequestError('BadImage', `${image.path} has the digest ${measured}`);
  return image.header.type === 'composefs' ? factsOf(readComposefs(image).root).objects : [];
}

/** Opens an image of a repository by its digest; undefined if it is not there. Throws `RequestError` BadImage if it is none. */
export function openImageOf(root: Fd, digest: VerityDigest): OpenedImage | undefined {
  const file = openStoredImage(root, digest);
  return file && readAnyImage(digest, file);
}

/** An image outside of the repository. */
export interface KeptImage {
  /** By both algorithms: mounts name it by either. */
  readonly digests: readonly VerityDigest[];
  readonly objects: readonly NeededObject[];
}

/** Throws `RequestError`. */
export function readKeptImage(path: string): KeptImage {
  using image = openAnyImage(path);
  const objects = image.header.type === 'composefs' ? factsOf(readComposefs(image).root).objects : [];
  const { sha256, sha512 } = hashFile(image.file, ['sha256', 'sha512']).digests;
  return { digests: [sha256, sha512], objects };
}

/** Paths below objects/ that an image keeps: those of its objects, wherever they are looked for, and its own. */
export function* keptPaths(objects: readonly NeededObject[], digest?: VerityDigest): Generator<string, void, void> {
  if (digest !== undefined) yield objectPath(digest);
  for (const object of objects) {
    if (object.digest !== undefined) yield objectPath(object.digest);
    if (object.path !== undefined) yield posix.normalize(`/${object.path}`).slice(1);
  }
}
