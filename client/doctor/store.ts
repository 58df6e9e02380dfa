// The additional image store: told to podman, written, and attached.
import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { RequestError } from '../../core/wire/errors.js';
import { askPodman } from '../ask-podman.js';
import { formatCount } from '../output.js';
import { listStoredImages } from '../podman/store-layout.js';
import { isStore, readIfThere, storageConf } from '../setup/places.js';
import { parseTomlFile, valueAt } from '../setup/toml-file.js';
import { type Finding, fail, ok, warn } from './finding.js';
import { type PodmanInfo, usesCfsOverlay } from './podman.js';

const EXPORT = 'sudo cfsctl podman export-store';

export function checkStore(store: string, info: PodmanInfo | undefined): Finding[] {
  const exported = readLayers(store);
  return [
    judgeExported(store, exported),
    judgeTold(store, storageConf()),
    ...(info === undefined || exported === undefined || exported.length === 0
      ? []
      : [judgeAttached(exported, attachedNow(store), info)]),
  ];
}

/** The layers of the store's images; undefined if there is no store. */
export function readLayers(store: string): readonly string[] | undefined {
  try {
    return isStore(store) ? [...new Set(listStoredImages(store).map(({ layer }) => layer))] : undefined;
  } catch (error) {
    if (error instanceof RequestError) return undefined;
    throw error;
  }
}

export function judgeExported(store: string, layers: readonly string[] | undefined): Finding {
  if (layers === undefined) return fail('store', `${store} is not there, or cannot be read`, EXPORT);
  if (layers.length === 0) return warn('store', `${store} has no image`, `sudo cfsctl oci import SOURCE NAME, then ${EXPORT}`);
  return ok('store', `${store} has ${formatCount(layers.length, 'image')}`);
}

function judgeTold(store: string, path: string): Finding {
  const mend = 'cfsctl setup podman --write';
  const text = readIfThere(path);
  try {
    const stores =
      text === undefined ? undefined : valueAt(parseTomlFile(path, text).values, ['storage', 'options', 'additionalimagestores']);
    if (Array.isArray(stores) && stores.includes(store)) return ok('storage.conf', `${path} names the store`);
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    return fail('storage.conf', error.message, error.hint ?? 'mend it');
  }
  return fail('storage.conf', `${path} does not name the store ${store}`, mend);
}

/** The layers that have a mount of the service in podman's namespace; a reason where podman does not say. */
function attachedNow(store: string): readonly string[] | string {
  const asked = askPodman('unshare', 'cat', '/proc/self/mountinfo');
  if ('because' in asked) return asked.because;
  return attachedLayers(realpathSync(store), asked.stdout);
}

/** `mountinfo`: proc_pid_mountinfo(5). Mount points of stores in paths with white space are not found. */
export function attachedLayers(store: string, mountinfo: string): string[] {
  const prefix = `${join(store, 'overlay')}/`;
  return mountinfo.split('\n').flatMap((line) => {
    const point = line.split(' ')[4] ?? '';
    const isOurs = point.startsWith(prefix) && / - (?:overlay composefs:|erofs )/.test(line);
    return isOurs ? [point.slice(prefix.length).split('/')[0] ?? ''] : [];
  });
}

export function judgeAttached(
  layers: readonly string[],
  attached: readonly string[] | string,
  info: Pick<PodmanInfo, 'store'>,
): Finding {
  const check = 'attached';
  if (usesCfsOverlay(info)) return ok(check, 'cfs-overlay does that when a container starts');
  const mend = 'podman unshare cfsctl attach --all';
  if (typeof attached === 'string') return fail(check, attached, 'podman unshare true, and mend what it says');
  const count = layers.filter((layer) => attached.includes(layer)).length;
  const says = `${count} of ${formatCount(layers.length, 'image')}`;
  if (count === layers.length) return ok(check, says);
  return count === 0 ? fail(check, says, mend) : warn(check, says, `${mend}; it names those that you may not mount`);
}
