// What becomes of a request: volumes are noted, mounted by the service, attached in podman's namespace, and told of.
import { RequestError } from '../../core/wire/errors.js';
import { type ConnectOptions } from '../connect.js';
import { type MountClient, connect } from '../mount-client.js';
import { type Volume, parseVolumeOptions } from './options.js';
import { addUser, attachVolume, clearPlace, isMounted, pointOf, removeUser, usersOf } from './places.js';
import type { Call } from './protocol.js';
import { findVolume, listVolumes, removeVolume, writeVolume } from './records.js';

export interface Setting {
  /** The directory of the volumes' files. */
  readonly records: string;
  /** The tmpfs they are mounted in. */
  readonly base: string;
  readonly service: ConnectOptions;
}

export interface Asker {
  /** False once nobody waits for the answer any more. */
  readonly isThere: () => boolean;
}

/** Performs one call and returns the answer's body. Calls for one volume come one after the other. Throws `RequestError`. */
export type Driver = (call: Call, asker: Asker) => Promise<object>;

export function createDriver(setting: Setting): Driver {
  const inTurn = createTurns();
  return async (call, asker) => {
    if (!('Name' in call)) return describeDriver(setting, call);
    return await inTurn(call.Name, async () => await perform(setting, call, asker));
  };
}

/** Each waits for those before it with the same name, however they end. */
function createTurns(): <T>(name: string, task: () => Promise<T>) => Promise<T> {
  const last = new Map<string, Promise<unknown>>();
  return async (name, task) => {
    const before = last.get(name) ?? Promise.resolve();
    const mine = before.then(task, task);
    last.set(name, mine);
    try {
      return await mine;
    } finally {
      if (last.get(name) === mine) last.delete(name);
    }
  };
}

type Named = Extract<Call, { readonly Name: string }>;

function describeDriver({ records, base }: Setting, { path }: Exclude<Call, Named>): object {
  if (path === '/Plugin.Activate') return { Implements: ['VolumeDriver'] };
  if (path === '/VolumeDriver.Capabilities') return { Capabilities: { Scope: 'local' } };
  return { Volumes: listVolumes(records).map((name) => ({ Name: name, Mountpoint: shownPoint(base, name) })) };
}

async function perform(setting: Setting, call: Named, asker: Asker): Promise<object> {
  const { records, base } = setting;
  const name = call.Name;
  if (call.path === '/VolumeDriver.Create') {
    await create(setting, name, call.Opts ?? {});
    return {};
  }
  const volume = findVolume(records, name);
  if (volume === undefined)
    throw new RequestError('BadRequest', `there is no volume ${name}`, {
      hint: 'podman volume create --driver cfs -o image=NAME makes one',
    });
  if (call.path === '/VolumeDriver.Mount') {
    await mount(setting, { name, volume, user: call.ID }, asker);
    return { Mountpoint: pointOf(base, name) };
  }
  if (call.path === '/VolumeDriver.Unmount') removeUser(base, name, call.ID);
  else if (call.path === '/VolumeDriver.Remove') remove(setting, name);
  else if (call.path === '/VolumeDriver.Path') return { Mountpoint: shownPoint(base, name) };
  else return { Volume: { Name: name, Mountpoint: shownPoint(base, name), Status: { ...volume } } };
  return {};
}

function shownPoint(base: string, name: string): string {
  return isMounted(base, name) ? pointOf(base, name) : '';
}

/** Asks the service at once: who learns only from a container that does not start has more to look for. */
async function create({ records, service }: Setting, name: string, options: Readonly<Record<string, string>>): Promise<void> {
  if (findVolume(records, name) !== undefined) throw new RequestError('BadRequest', `there is a volume ${name}`);
  const volume = parseVolumeOptions(options);
  using client = connect(service);
  const { verdict, because, hint } = await client.checkImageAsync(volume.image, volume);
  if (verdict !== 'allow') throw new RequestError('NotTrusted', because, { hint });
  writeVolume(records, name, volume);
}

interface Use {
  readonly name: string;
  readonly volume: Volume;
  readonly user: string;
}

/** All users of a volume share one mount. */
async function mount({ base, service }: Setting, { name, volume, user }: Use, asker: Asker): Promise<void> {
  const isNew = addUser(base, name, user);
  try {
    if (!isMounted(base, name)) await mountFromService(service, volume, (received) => attachVolume(base, name, received));
    // podman has given up, and will not unmount what it has not heard of.
    if (!asker.isThere()) throw new RequestError('Timeout', `nobody waits for the volume ${name} any more`);
  } catch (error) {
    if (isNew) removeUser(base, name, user);
    throw error;
  }
}

async function mountFromService(
  service: ConnectOptions,
  volume: Volume,
  attachIt: (received: Awaited<ReturnType<MountClient['mountImageAsync']>>['mount']) => void,
): Promise<void> {
  using client = connect(service);
  const { mount: received } = await client.mountImageAsync(volume.image, volume);
  using held = received;
  attachIt(held);
}

function remove({ records, base }: Setting, name: string): void {
  if (isMounted(base, name) && usersOf(base, name).length > 0)
    throw new RequestError('BadRequest', `the volume ${name} is in use`, { hint: 'remove the containers that use it' });
  // Of a plugin that was killed there may be a mount without users, or users without a mount.
  clearPlace(base, name);
  removeVolume(records, name);
}
