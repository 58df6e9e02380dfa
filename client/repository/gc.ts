// cfsctl gc: takes away what no name and no live mount needs. The order is what makes it safe: images cannot be found any more when the mounts are
// looked at for the last time, and nothing leads to an object any more when it goes.
import type { VerityDigest } from '../../core/image/digest.js';
import { isErrno } from '../../core/kernel/error.js';
import type { Fd } from '../../core/kernel/fd.js';
import { O_DIRECTORY, O_RDONLY, openBeneath, removeDirectoryAt, unlinkAt } from '../../core/kernel/file.js';
import { statAt } from '../../core/kernel/stat.js';
import { RequestError } from '../../core/wire/errors.js';
import { showBytes } from '../inspect/shown-bytes.js';
import { OCI_REFS } from '../oci/names.js';
import { removeRecords, sortRecords } from '../oci/remove-records.js';
import { removeAbandonedDrafts } from '../store/drafts.js';
import { REFS, digestOfHex, imageEntry, listImageNames, readLink, walkRefs } from './entries.js';
import { linkImage, removeAbandonedLinks, removeEntry } from './links.js';
import { type MountSources, findMounted } from './mounted.js';
import { type KeptImage, keptPaths, openImageOf, readNeeds } from './needs.js';
import { type Repository, atRepository, readNamesOf } from './repository.js';

export interface GcOptions extends Pick<MountSources, 'listServiceMounts' | 'listKernelMounts' | 'force'> {
  readonly dryRun: boolean;
  /** Images outside of the repository whose objects are kept. */
  readonly keep: readonly KeptImage[];
}

export interface Collected {
  /** Images that are not known any more. */
  readonly images: readonly VerityDigest[];
  /** Ids of container images of which nothing is kept any more. */
  readonly ociImages: readonly string[];
  /** What was deleted. */
  readonly objects: number;
  readonly bytes: number;
  /** Images without a name that stay because they are mounted. */
  readonly mounted: readonly VerityDigest[];
}

/** The repository must be locked exclusively. Throws `RequestError` before anything is removed if what is needed cannot be told. */
export function collectGarbage({ root, path }: Repository, options: GcOptions): Collected {
  return atRepository(path, () => {
    requireNoStreams(root);
    using objects = openBeneath(root, 'objects', O_RDONLY | O_DIRECTORY);
    const records = sortRecords(root);
    const named = new Set([...namedImages(root), ...imagesNotLinked(root), ...records.images]);
    const mounted = findMountedImages(root, objects, options);
    const marks = markAll(root, new Set([...named, ...mounted]), options.keep);
    const dead = listImages(root).filter((digest) => !named.has(digest) && !mounted.has(digest));
    if (!options.dryRun) {
      removeRecords(root, records.unnamed);
      for (const late of forget(root, objects, dead, options)) {
        if (mounted.has(late) || named.has(late)) continue;
        mark(root, late, marks);
        mounted.add(late);
      }
      removeAbandonedDrafts(objects);
      removeAbandonedDrafts(root);
      removeAbandonedLinks(root);
      for (const refs of [REFS, OCI_REFS]) removeEmptyRefDirectories(root, refs);
    }
    const deleted = sweep(objects, marks, options.dryRun);
    const unnamed = [...mounted].filter((digest) => !named.has(digest));
    const images = dead.filter((digest) => !mounted.has(digest));
    return { images, ociImages: records.unnamed, ...deleted, mounted: unnamed };
  });
}

/**
 * Takes images out of images/, and then looks at the mounts again: to root, the service answers when it has mounted what it had found before. Those mounted
 * meanwhile are put back and returned. Nothing of them is gone yet.
 */
function forget(root: Fd, objects: Fd, dead: readonly VerityDigest[], options: GcOptions): VerityDigest[] {
  for (const digest of dead) removeEntry(root, imageEntry(digest));
  const mounted = [...findMountedImages(root, objects, options)];
  for (const digest of mounted) if (dead.includes(digest)) linkImage(root, digest);
  return mounted;
}

/** Streams of composefs-rs need objects, too, in a form of its own. */
function requireNoStreams(root: Fd): void {
  const streams = readNamesOf(root, 'streams').filter((name) => name !== 'refs');
  if (streams.length === 0) return;
  throw new RequestError('NotSupported', 'the repository has streams, and what they need is not known here', {
    hint: 'let the tool that put them there collect garbage: cfsctl gc of composefs-rs',
  });
}

/** By whatever form of link, as composefs-rs follows them. */
function namedImages(root: Fd): VerityDigest[] {
  return walkRefs(root).refs.map(({ path, target }) => {
    const digest = digestOfHex(target?.slice(target.lastIndexOf('/') + 1) ?? '');
    if (digest !== undefined) return digest;
    throw new RequestError(
      'Failed',
      `${REFS}/${showBytes(path as never)} leads to no image, so what it stands for is not known`,
      {
        hint: 'cfsctl fsck tells more; remove it, or mend it',
      },
    );
  });
}

function listImages(root: Fd): VerityDigest[] {
  return listImageNames(root).flatMap((name) => digestOfHex(name) ?? []);
}

/** Images that are files in images/ themselves were not put there by a tool that counts on this one. */
function imagesNotLinked(root: Fd): VerityDigest[] {
  return listImages(root).filter((digest) => readLink(root, imageEntry(digest)) === undefined);
}

function findMountedImages(root: Fd, objects: Fd, { keep, ...sources }: GcOptions): Set<VerityDigest> {
  const isKept = (digest: VerityDigest): boolean => keep.some(({ digests }) => digests.includes(digest));
  const isStored = (digest: VerityDigest): boolean => {
    using image = openImageOf(root, digest);
    return image !== undefined;
  };
  const mounted = findMounted({ ...sources, objects, isKnown: (digest) => isKept(digest) || isStored(digest) });
  return new Set([...mounted].filter(isStored));
}

/** All are read before anything is removed: one that is damaged ends it here. */
function markAll(root: Fd, digests: ReadonlySet<VerityDigest>, keep: readonly KeptImage[]): Set<string> {
  const marks = new Set<string>();
  for (const { objects } of keep) for (const path of keptPaths(objects)) marks.add(path);
  for (const digest of digests) mark(root, digest, marks);
  return marks;
}

function mark(root: Fd, digest: VerityDigest, marks: Set<string>): void {
  using image = openImageOf(root, digest);
  // A name without its image: fsck complains of it, nothing is left to keep.
  if (image === undefined) return;
  for (const path of keptPaths(readNeeds(image, digest), digest)) marks.add(path);
}

function removeEmptyRefDirectories(root: Fd, refs: string): void {
  for (const path of walkRefs(root, refs).directories.toReversed()) {
    const slash = path.lastIndexOf('/');
    using parent = openBeneath(root, Buffer.from(`${refs}/${path.slice(0, slash + 1)}`, 'latin1'), O_RDONLY | O_DIRECTORY);
    try {
      removeDirectoryAt(parent, path.slice(slash + 1));
    } catch (error) {
      if (!isErrno(error, 'ENOTEMPTY', 'ENOENT')) throw error;
    }
  }
}

/** Directories `xx` of an object store. What else has such a name holds no objects: fsck tells of it. */
export function listObjectDirectories(objects: Fd): string[] {
  return readNamesOf(objects, '.')
    .filter((name) => /^[0-9a-f]{2}$/.test(name) && statAt(objects, name).type === 'directory')
    .sort();
}

function sweep(objects: Fd, marks: ReadonlySet<string>, dryRun: boolean): { objects: number; bytes: number } {
  let count = 0;
  let bytes = 0;
  for (const parent of listObjectDirectories(objects)) {
    using directory = openBeneath(objects, parent, O_RDONLY | O_DIRECTORY);
    for (const name of readNamesOf(directory, '.')) {
      // What does not have the name of an object is none, and somebody else's.
      if (digestOfHex(parent + name) === undefined || marks.has(`${parent}/${name}`)) continue;
      const { type, size } = statAt(directory, name);
      if (type === 'directory') continue;
      if (!dryRun) unlinkAt(directory, name);
      count += 1;
      bytes += size;
    }
  }
  return { objects: count, bytes };
}
