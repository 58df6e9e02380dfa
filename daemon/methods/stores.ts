// The object stores of a mount, and whether the kernel has to hold each object to its digest.
import type { OwnedFd } from '../../core/kernel/fd.js';
import { sameInode, statFd } from '../../core/kernel/stat.js';
import { measureVerity } from '../../core/kernel/verity.js';
import { RequestError } from '../../core/wire/errors.js';
import { INSPECT_TIMEOUT, VERITY_FILE_SYSTEMS } from '../measure.js';
import type { Repository } from '../repositories.js';
import type { Service } from '../service.js';

export interface Stores {
  readonly directories: readonly OwnedFd[];
  readonly requireVerity: boolean;
  [Symbol.dispose](): void;
}

function ownStores(directories: readonly OwnedFd[], requireVerity: boolean): Stores {
  return {
    directories,
    requireVerity,
    [Symbol.dispose]() {
      for (const directory of directories) directory.close();
    },
  };
}

function noVerity(whose: string): RequestError {
  return new RequestError('NotSupported', `${whose} is on a file system without fs-verity, so its objects cannot be checked`, {
    hint: 'put it on ext4 or btrfs with fs-verity, or ask the administrator for a [[repository]] with objects = "trusted"',
  });
}

/** Stores of the daemon's repositories. One that only root can write may be believed; with any other, every object is checked. */
export function repositoryStores(repositories: readonly Repository[]): Stores {
  const requireVerity = repositories.some(({ objectTrust }) => objectTrust === 'verity');
  for (const { objects } of requireVerity ? repositories : []) {
    if (measureVerity(objects).state === 'unsupported') throw noVerity('the image repository');
  }
  return ownStores(
    repositories.map(({ objects }) => objects.duplicate()),
    requireVerity,
  );
}

/** The service's own store behind a directory that the caller names: the same directory, not one like it. */
function ownStoreOf(service: Service, directory: OwnedFd): Repository | undefined {
  const status = statFd(directory);
  return service.current().repositories.find(({ objects }) => sameInode(statFd(objects), status));
}

/** Where the objects of an image would come from if it was mounted, and whether they would have to prove what they are. Nothing is asked of the file systems behind them. */
export interface StoreView {
  readonly directories: readonly OwnedFd[];
  readonly requireVerity: boolean;
}

/** `directories` are the caller's own; with none, the repositories are looked at. The descriptors stay whose they are. */
export function viewStores(service: Service, directories: readonly OwnedFd[], repositories: readonly Repository[]): StoreView {
  const own = directories.map((directory) => ownStoreOf(service, directory));
  if (directories.length === 0) {
    const requireVerity = repositories.some(({ objectTrust }) => objectTrust === 'verity');
    return { directories: repositories.map(({ objects }) => objects), requireVerity };
  }
  return { directories, requireVerity: needsVerity(own) };
}

function needsVerity(own: readonly (Repository | undefined)[]): boolean {
  return !own.every((repository) => repository?.objectTrust === 'trusted');
}

/** Asks where a hang is allowed: the directory may be on a file system of the caller's own. */
async function requireVerityOf(service: Service, directory: OwnedFd, user: number): Promise<void> {
  const asked = directory.duplicate();
  const options = { user, timeoutMs: INSPECT_TIMEOUT, closeAfter: [asked] };
  const { magic, verity } = await service.workers.run({ kind: 'inspect', file: asked.raw }, options);
  if (verity === 'unsupported' || !VERITY_FILE_SYSTEMS.has(magic)) throw noVerity('your object store');
}

/**
 * Stores of the caller. overlayfs reads them with the daemon's rights, so whatever is there must prove by fs-verity that it is what
 * the trusted image names: a directory the caller cannot read yields nothing. The descriptors stay whose they are.
 */
export async function callerStores(service: Service, directories: readonly OwnedFd[], user: number): Promise<Stores> {
  const own = directories.map((directory) => ownStoreOf(service, directory));
  const requireVerity = needsVerity(own);
  const stores = directories.map((directory, i) => (own[i]?.objects ?? directory).duplicate());
  const all = ownStores(stores, requireVerity);
  try {
    for (const directory of requireVerity ? stores : []) await requireVerityOf(service, directory, user);
    return all;
  } catch (error) {
    all[Symbol.dispose]();
    throw error;
  }
}
