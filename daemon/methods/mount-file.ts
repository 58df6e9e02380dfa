import type { FdList, OwnedFd } from '../../core/kernel/fd.js';
import { RequestError } from '../../core/wire/errors.js';
import { parseMountFile, type CheckFileRequest, type MountFileRequest } from '../../core/wire/requests.js';
import { requireDirectory, requireRegularFile, stealFd } from '../descriptors.js';
import type { Granted, Service } from '../service.js';
import type { Caller, Reply } from '../transport/peer.js';
import { type CallerUserns, requireOwnUserns } from '../userns.js';
import type { Notes } from './notes.js';
import { handOut } from './hand-out.js';
import { readTrusted, requirePlacedObjects } from './judge-image.js';
import { openCallerImage, type OpenedImage } from './open-image.js';
import { callerStores, repositoryStores, type Stores } from './stores.js';
import { withGrant } from './with-grant.js';

/** The file and the stores of a request, checked for what they are. */
export function takeFiles(request: CheckFileRequest, fds: FdList): { file: OwnedFd; directories: OwnedFd[]; close(): void } {
  const taken: OwnedFd[] = [];
  const close = (): void => taken.forEach((fd) => fd.close());
  try {
    const file = stealFd(fds, request.file, 'file');
    taken.push(file);
    requireRegularFile(file, 'file');
    const directories = request.objects.map((index, i) => {
      const directory = stealFd(fds, index, `objects[${i}]`);
      taken.push(directory);
      requireDirectory(directory, `objects[${i}]`);
      return directory;
    });
    return { file, directories, close };
  } catch (error) {
    close();
    throw error;
  }
}

function openStores(
  service: Service,
  image: OpenedImage,
  directories: readonly OwnedFd[],
  payer: number,
): Stores | Promise<Stores> {
  if (image.header.type === 'erofs') return repositoryStores([]);
  if (directories.length > 0) return callerStores(service, directories, payer);
  if (image.repositories.length > 0) return repositoryStores(image.repositories);
  throw new RequestError('BadRequest', 'a composefs image needs an object store, and the service has none of its own', {
    hint: 'name one: --objects DIR',
  });
}

export async function mountFile(
  service: Service,
  caller: Caller,
  body: readonly unknown[],
  fds: FdList,
  notes: Notes,
): Promise<Reply> {
  const request = parseMountFile(body);
  using usernsFd = stealFd(fds, request.userns, 'userns');
  const userns = requireOwnUserns(usernsFd, caller.uid);
  notes.userns = userns.inode;
  const files = takeFiles(request, fds);
  try {
    return await withGrant(service, { caller, payer: userns.payer }, notes, (granted) =>
      attempt(service, { request, files, userns, caller, granted }, notes),
    );
  } finally {
    files.close();
  }
}

interface Task {
  readonly request: MountFileRequest;
  readonly files: ReturnType<typeof takeFiles>;
  readonly userns: CallerUserns;
  readonly caller: Caller;
  readonly granted: Granted | undefined;
}

async function attempt(service: Service, { request, files, userns, caller, granted }: Task, notes: Notes): Promise<Reply> {
  const { options } = request;
  // Measuring closes what it is given, and there may be a second attempt.
  using given = files.file.duplicate();
  using image = await openCallerImage(service, given, request, caller, userns.payer);
  notes.digest = image.digest;
  const facts = await readTrusted(service, image, caller, userns.payer);
  using stores = await openStores(service, image, files.directories, userns.payer);
  requirePlacedObjects(facts, stores.requireVerity);
  const { reply, mount } = await handOut(service, { image, facts, stores, userns, options, caller, granted });
  notes.rule = mount.rule;
  notes.mount = mount.id;
  return reply;
}
