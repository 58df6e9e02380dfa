import type { FdList } from '../../core/kernel/fd.js';
import { parseMountImage, type MountImageRequest } from '../../core/wire/requests.js';
import { stealFd } from '../descriptors.js';
import type { Granted, Service } from '../service.js';
import type { Caller, Reply } from '../transport/peer.js';
import { type CallerUserns, requireOwnUserns } from '../userns.js';
import type { Notes } from './notes.js';
import { handOut } from './hand-out.js';
import { readTrusted, requirePlacedObjects } from './judge-image.js';
import { openRepositoryImage } from './open-image.js';
import { repositoryStores } from './stores.js';
import { withGrant } from './with-grant.js';

export async function mountImage(
  service: Service,
  caller: Caller,
  body: readonly unknown[],
  fds: FdList,
  notes: Notes,
): Promise<Reply> {
  const request = parseMountImage(body);
  notes.image = request.image.kind === 'digest' ? request.image.digest : request.image.name;
  using usernsFd = stealFd(fds, request.userns, 'userns');
  const userns = requireOwnUserns(usernsFd, caller.uid);
  notes.userns = userns.inode;
  return await withGrant(service, { caller, payer: userns.payer }, notes, (granted) =>
    attempt(service, { request, userns, caller, granted }, notes),
  );
}

interface Task {
  readonly request: MountImageRequest;
  readonly userns: CallerUserns;
  readonly caller: Caller;
  readonly granted: Granted | undefined;
}

async function attempt(service: Service, { request, userns, caller, granted }: Task, notes: Notes): Promise<Reply> {
  using making = service.inMaking.begin();
  using image = await openRepositoryImage(service, request, caller, true);
  notes.digest = image.digest;
  const facts = await readTrusted(service, image, caller, userns.payer);
  using stores = repositoryStores(image.header.type === 'composefs' ? image.repositories : []);
  requirePlacedObjects(facts, stores.requireVerity);
  const { reply, mount } = await handOut(service, {
    image,
    facts,
    stores,
    userns,
    options: request.options,
    caller,
    granted,
    counted: making.end,
  });
  notes.rule = mount.rule;
  notes.mount = mount.id;
  return reply;
}
