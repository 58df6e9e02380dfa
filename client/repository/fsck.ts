// cfsctl fsck: is everything in a repository what its name says, and is there what is needed?
import type { ByteString } from '../../core/image/bytes.js';
import { type VerityAlgorithm, type VerityDigest, digestAlgorithm, objectPath } from '../../core/image/digest.js';
import type { NeededObject } from '../../core/image/facts.js';
import { SyscallError } from '../../core/kernel/error.js';
import type { Fd } from '../../core/kernel/fd.js';
import { O_DIRECTORY, O_PATH, openBeneath } from '../../core/kernel/file.js';
import { statAt, statFd } from '../../core/kernel/stat.js';
import { RequestError } from '../../core/wire/errors.js';
import { hashFile } from '../inspect/hash-file.js';
import { openObject } from '../inspect/objects.js';
import { showBytes } from '../inspect/shown-bytes.js';
import { checkRecords } from '../oci/check-records.js';
import { type Progress, showProgress } from '../progress.js';
import { isOfDrafts } from '../store/drafts.js';
import { REFS, type Ref, digestOfHex, digestOfRef, hasImageEntry, imageEntry, listImageNames, walkRefs } from './entries.js';
import { openImageOf, readNeeds } from './needs.js';
import { type Problem, problem } from './problem.js';
import { type Repository, atRepository, readNamesOf } from './repository.js';

export interface Inspection {
  readonly objects: number;
  readonly images: number;
  readonly refs: number;
  readonly ociImages: number;
  readonly problems: readonly Problem[];
}

/** Reads every object and every image. Throws `RequestError` if the repository itself cannot be read. */
export function inspectRepository(repository: Repository): Inspection {
  return atRepository(repository.path, () => {
    const { root } = repository;
    const objects = [...listFiles(root)];
    const images = listImageNames(root);
    const { refs } = walkRefs(root);
    const records = checkRecords(root);
    using progress = showProgress(
      'checking',
      objects.reduce((sum, { size }) => sum + size, 0),
    );
    const problems = [
      ...objects.flatMap((object) => checkObject(root, object, progress)),
      ...images.sort().flatMap((name) => checkImage(root, name)),
      ...[...refs].sort((a, b) => (a.path < b.path ? -1 : 1)).flatMap((ref) => checkRef(root, ref)),
      ...records.problems,
    ];
    return { objects: objects.length, images: images.length, refs: refs.length, ociImages: records.count, problems };
  });
}

interface StoredFile {
  /** Below objects/. */
  readonly path: string;
  readonly size: number;
}

/** Everything in objects/ but what is in the making. */
function* listFiles(root: Fd): Generator<StoredFile, void, void> {
  for (const parent of readNamesOf(root, 'objects').sort()) {
    if (isOfDrafts(parent)) continue;
    if (!/^[0-9a-f]{2}$/.test(parent) || statAt(root, `objects/${parent}`).type !== 'directory') {
      yield { path: parent, size: 0 };
      continue;
    }
    using directory = openBeneath(root, `objects/${parent}`, O_PATH | O_DIRECTORY);
    for (const name of readNamesOf(directory, '.').sort())
      yield { path: `${parent}/${name}`, size: digestOfHex(parent + name) ? statAt(directory, name).size : 0 };
  }
}

function checkObject(root: Fd, { path }: StoredFile, progress: Progress): Problem[] {
  const where = `objects/${path}`;
  const digest = path.includes('/') ? digestOfHex(path.replace('/', '')) : undefined;
  if (digest === undefined) return [problem(where, 'unknown-entry', 'does not have the name of an object')];
  try {
    const measured = measure(root, where, digestAlgorithm(digest), progress);
    if (measured === undefined) return [problem(where, 'not-a-file', 'is not a regular file')];
    return measured === digest ? [] : [problem(where, 'wrong-digest', `has the digest ${measured}`)];
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    return [problem(where, 'unreadable', `cannot be read (${error.code})`)];
  }
}

function measure(root: Fd, path: string, algorithm: VerityAlgorithm, progress: Progress): VerityDigest | undefined {
  using file = openObject(root, path as ByteString) || undefined;
  return file && hashFile(file, [algorithm], progress).digests[algorithm];
}

function checkImage(root: Fd, name: string): Problem[] {
  const where = `images/${name}`;
  const digest = digestOfHex(name);
  if (digest === undefined) return [problem(where, 'unknown-entry', 'does not have the name of an image')];
  if (!hasImageEntry(root, digest)) return [problem(where, 'wrong-link', 'does not lead to the object of its name')];
  try {
    using image = openImageOf(root, digest);
    if (image === undefined) return [problem(where, 'missing', 'has no image behind it')];
    return readNeeds(image, digest).flatMap((object) => checkNeeded(root, where, object));
  } catch (error) {
    if (error instanceof RequestError) return [problem(where, 'unreadable', error.message)];
    if (error instanceof SyscallError) return [problem(where, 'unreadable', `cannot be read (${error.code})`)];
    throw error;
  }
}

/** That it is there. What it holds was looked at with all objects. */
function checkNeeded(root: Fd, where: string, { digest, path, size }: NeededObject): Problem[] {
  const shown = path === undefined ? 'a file without a path' : showBytes(path);
  if (path === undefined || digest === undefined || path !== (objectPath(digest) as string))
    return [problem(where, 'missing-object', `needs an object that is not at the path of its digest: ${shown}`)];
  using file = openObject(root, `objects/${path}` as ByteString) || undefined;
  if (file === undefined) return [problem(where, 'missing-object', `needs ${shown}, which is missing`)];
  const actual = statFd(file).size;
  if (BigInt(actual) === size) return [];
  return [problem(where, 'missing-object', `needs ${shown} with ${size} bytes; it has ${actual}`)];
}

function checkRef(root: Fd, ref: Ref): Problem[] {
  const where = `${REFS}/${ref.path}`;
  if (ref.target === undefined) return [problem(where, 'not-a-file', 'is not a symbolic link')];
  const digest = digestOfRef(ref);
  if (digest === undefined)
    return [problem(where, 'wrong-link', `leads to ${showBytes(ref.target as ByteString)}, not to one image in images/`)];
  return hasImageEntry(root, digest) ? [] : [problem(where, 'dangling', `leads to ${imageEntry(digest)}, which is missing`)];
}
