// The last steps of a mount: count it, build it, lock it, and only then let it go.
import { statFd } from '../../core/kernel/stat.js';
import { RequestError } from '../../core/wire/errors.js';
import type { ImageOptions } from '../../core/wire/requests.js';
import { encodeMountResult } from '../../core/wire/results.js';
import { buildMount, mountForKeeping, type BuiltMount, type MountPlan } from '../build-mount.js';
import { layerWay } from '../features.js';
import { buildByPath } from '../join-layers.js';
import type { LiveMount } from '../live-mount.js';
import { requireAllowed, type Granted, type Service } from '../service.js';
import type { Caller, Reply } from '../transport/peer.js';
import type { FoundFacts } from '../worker/jobs.js';
import type { CallerUserns } from '../userns.js';
import { judgeNow } from './judge-image.js';
import type { OpenedImage } from './open-image.js';
import type { Stores } from './stores.js';

export interface HandOut {
  readonly image: OpenedImage;
  readonly facts: FoundFacts;
  readonly stores: Stores;
  readonly userns: CallerUserns;
  readonly options: ImageOptions;
  readonly caller: Caller;
  readonly granted: Granted | undefined;
  /** Called when the mount is in the list of live ones. */
  readonly counted?: () => void;
}

export interface HandedOut {
  readonly reply: Reply;
  readonly mount: LiveMount;
}

/** The EROFS superblock of an image, kept for the next mount of it. Plain EROFS mounts are not cloned: each is counted by its own superblock. */
function keptErofs(service: Service, { digest, file, header }: OpenedImage) {
  if (header.type !== 'composefs' || !service.features.has('clone-detached')) return undefined;
  const { device, inode, ctime } = statFd(file);
  const key = `${digest} ${device} ${inode} ${ctime}`;
  const kept = service.kept.get(key);
  if (kept) return kept;
  service.kept.put(key, mountForKeeping(file, header));
  return service.kept.get(key);
}

function notSupported(what: string): RequestError {
  return new RequestError('NotSupported', `this kernel ${what}`, { hint: 'cfsctl status shows what it can do' });
}

function requireFeatures({ features }: Service, { header }: OpenedImage, { requireVerity }: Stores): void {
  if (!features.has('erofs')) throw notSupported('cannot mount EROFS images');
  if (header.type === 'erofs') return;
  if (!layerWay(features)) throw notSupported('cannot mount composefs images');
  if (requireVerity && !features.has('overlay-verity')) throw notSupported('cannot check the objects of composefs images');
}

/** Where the kernel takes detached layers no thread is needed. */
async function build({ features, workers }: Service, plan: MountPlan, payer: number): Promise<BuiltMount> {
  const way = layerWay(features);
  if (plan.header.type === 'erofs' || way === undefined || way === 'descriptors') return buildMount(plan);
  return buildByPath(workers, way, plan, payer);
}

/** Builds, locks and counts the mount; the reply owns the descriptor. */
export async function handOut(service: Service, task: HandOut): Promise<HandedOut> {
  const { image, facts, stores, userns, options, caller, granted } = task;
  requireFeatures(service, image, stores);
  const { limits } = service.current().policy;
  const asking = { caller, payer: userns.payer, granted };
  const judged = judgeNow(service, image, facts, options);
  const { rule, nosuid, noexec } = requireAllowed(service, judged, asking);
  using place = service.accounts.reserve(userns.payer, limits);
  image.keep?.();
  const plan: MountPlan = {
    image: image.file,
    header: image.header,
    userns: userns.fd,
    objects: stores.directories,
    name: image.digest,
    requireVerity: stores.requireVerity,
    kept: keptErofs(service, image),
    nosuid: nosuid || options.nosuid,
    noexec: noexec || options.noexec,
  };
  const built = await build(service, plan, userns.payer);
  const mount = countOrClose(built);
  const locked = await service.parking.lock(built, userns.fd, userns.payer);
  try {
    // Time has passed: the policy and the certificates may have been replaced, and the caller may have left.
    requireAllowed(service, judgeNow(service, image, facts, options), asking);
    if (caller.isGone()) throw new RequestError('Failed', 'the caller has gone');
    const result = { id: mount.id, digest: mount.digest, rule, verified: image.verified, type: mount.type, locked: true };
    return { mount, reply: { signature: 'ha{sv}', body: [0, encodeMountResult(result)], fds: [locked] } };
  } catch (error) {
    locked.close();
    throw error;
  }

  /** Before it reaches the caller's ground, where it can be cloned: whatever becomes of it, it counts until its superblock dies. */
  function countOrClose({ mount, spare }: BuiltMount): LiveMount {
    try {
      const live = place.confirm(mount, {
        uid: caller.uid,
        digest: image.digest,
        rule,
        ...(image.signedBy?.[0] !== undefined && { signer: image.signedBy[0] }),
        userns: userns.inode,
        type: image.header.type,
      });
      task.counted?.();
      return live;
    } catch (error) {
      mount.close();
      spare?.close();
      throw error;
    }
  }
}
