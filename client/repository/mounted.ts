// Which images are mounted, as far as their objects may be in a repository.
import type { VerityDigest } from '../../core/image/digest.js';
import type { Fd } from '../../core/kernel/fd.js';
import { O_DIRECTORY, O_PATH, openPath } from '../../core/kernel/file.js';
import { sameInode, statFd } from '../../core/kernel/stat.js';
import { RequestError } from '../../core/wire/errors.js';
import type { OverlayMount } from './live-mounts.js';

/** Of core/wire/results.ts, which is for who talks to the service. */
export interface ServiceMount {
  readonly digest: VerityDigest;
  /** A plain EROFS image needs no objects. */
  readonly type: 'composefs' | 'erofs';
}

export interface MountSources {
  /** Images of the mounts that the service tells of: those that are attached nowhere are known to it alone. */
  readonly listServiceMounts: () => readonly ServiceMount[];
  /** Overlays that the kernel shows. */
  readonly listKernelMounts: () => readonly OverlayMount[];
  /** True if what the image needs can be read. */
  readonly isKnown: (digest: VerityDigest) => boolean;
  /** The repository's object store. */
  readonly objects: Fd;
  /** Leave out mounts of images that are not known. */
  readonly force: boolean;
}

/**
 * Known images that are mounted. A mount of an image that is not known, with objects that may be in this repository, is an error: it would break if they went.
 * Throws `RequestError` Failed.
 */
export function findMounted({ listServiceMounts, listKernelMounts, isKnown, objects, force }: MountSources): Set<VerityDigest> {
  const overlays = listKernelMounts();
  const told = listServiceMounts();
  const composefs = new Set(
    [...told.filter(({ type }) => type === 'composefs'), ...overlays].flatMap(({ digest }) => digest ?? []),
  );
  const known = new Set([...composefs, ...told.map(({ digest }) => digest)].filter(isKnown));
  const unknown = [
    ...[...composefs].filter(
      (digest) =>
        !known.has(digest) &&
        mayNeed(
          overlays.filter((mount) => mount.digest === digest),
          objects,
        ),
    ),
    ...overlays
      .filter(({ digest, stores }) => digest === undefined && stores.some((store) => placeOf(store, objects) !== 'elsewhere'))
      .map(({ source }) => source),
  ];
  if (unknown.length > 0 && !force) throw refuse(unknown);
  return known;
}

/** False if every mount of an image is seen to have its objects elsewhere. One that is not seen at all may have them anywhere. */
function mayNeed(mounts: readonly OverlayMount[], objects: Fd): boolean {
  return mounts.length === 0 || mounts.some(({ stores }) => stores.some((store) => placeOf(store, objects) !== 'elsewhere'));
}

/** Nothing is known of a path that leads nowhere, and of one that depends on the directory of whoever made the mount. `/` is what a detached layer shows. */
function placeOf(store: string, objects: Fd): 'here' | 'elsewhere' | 'unknown' {
  if (!store.startsWith('/') || store === '/') return 'unknown';
  try {
    using directory = openPath(store, O_PATH | O_DIRECTORY);
    return sameInode(statFd(directory), statFd(objects)) ? 'here' : 'elsewhere';
  } catch {
    return 'unknown';
  }
}

function refuse(unknown: readonly string[]): RequestError {
  const rest = unknown.length === 1 ? '' : ` and ${unknown.length - 1} others`;
  return new RequestError(
    'Failed',
    `an image is mounted that is not in the repository, but may have its objects there: ${unknown[0]}${rest}`,
    {
      hint: 'unmount it, or say with --keep FILE which image it is; --force removes objects although the mount may need them',
    },
  );
}
