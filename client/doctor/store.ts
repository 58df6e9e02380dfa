// The additional image store: told to podman, written, and attached.
import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { RequestError } from '../../core/wire/errors.js';
import { askPodman } from '../ask-podman.js';
import { formatCount } from '../output.js';
import { DEFAULT_STORE, type StoredImage, exportCommand, listStoredImages } from '../podman/store-layout.js';
import { whyDamaged } from '../podman/whole-layer.js';
import { isStore, readIfThere, storageConf } from '../setup/places.js';
import { parseTomlFile, valueAt } from '../setup/toml-file.js';
import { shellWord } from '../shell-word.js';
import { type Finding, fail, failureOf, ok, warn } from './finding.js';
import { type PodmanInfo, usesCfsOverlay } from './podman.js';

/** What has to be said of a store that is not the one that commands take by themselves. */
function optionOf(store: string): string {
  return store === DEFAULT_STORE ? '' : ` --store ${shellWord(store)}`;
}

export function checkStore(store: string, info: PodmanInfo | undefined): Finding[] {
  const images = readImages(store);
  return [
    judgeExported(store, images),
    judgeTold(store),
    ...(info === undefined || images === undefined || images.length === 0
      ? []
      : [judgeAttached(store, images, attachedNow(store), info)]),
  ];
}

/** The images of the store; undefined if there is no store. */
export function readImages(store: string): readonly StoredImage[] | undefined {
  try {
    return isStore(store) ? listStoredImages(store) : undefined;
  } catch (error) {
    if (error instanceof RequestError) return undefined;
    throw error;
  }
}

/** As many as `podman images` has lines: one for each name, and one for an image without any. */
function countShown(images: readonly StoredImage[]): number {
  return images.reduce((sum, { names }) => sum + Math.max(names.length, 1), 0);
}

/** `why`: says of a layer what is damaged of it. */
export function judgeExported(store: string, images: readonly StoredImage[] | undefined, why = whyDamaged): Finding {
  const command = exportCommand(store);
  if (images === undefined) return fail('store', `${store} is not there, or cannot be read`, command);
  if (images.length === 0) return warn('store', `${store} has no image`, `sudo cfsctl oci import SOURCE NAME, then ${command}`);
  const damages = [...new Set(images.map(({ layer }) => layer))].flatMap((layer) => why(store, layer) ?? []);
  if (damages.length > 0) return fail('store', damages.join('; '), command);
  return ok('store', `${store} has ${formatCount(countShown(images), 'image')}`);
}

function judgeTold(store: string): Finding {
  try {
    const path = storageConf();
    const text = readIfThere(path);
    const stores =
      text === undefined ? undefined : valueAt(parseTomlFile(path, text).values, ['storage', 'options', 'additionalimagestores']);
    if (Array.isArray(stores) && stores.includes(store)) return ok('storage.conf', `${path} names the store`);
    return fail('storage.conf', `${path} does not name the store ${store}`, `cfsctl setup podman${optionOf(store)} --write`);
  } catch (error) {
    return failureOf('storage.conf', error);
  }
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
  store: string,
  images: readonly StoredImage[],
  attached: readonly string[] | string,
  info: Pick<PodmanInfo, 'store'>,
): Finding {
  const check = 'attached';
  if (usesCfsOverlay(info)) return ok(check, 'cfs-overlay does that when a container starts');
  const mend = `podman unshare cfsctl attach --all${optionOf(store)}`;
  if (typeof attached === 'string') return fail(check, attached, 'podman unshare true, and mend what it says');
  const count = countShown(images.filter(({ layer }) => attached.includes(layer)));
  const all = countShown(images);
  const says = `${count} of ${formatCount(all, 'image')}`;
  if (count === all) return ok(check, says);
  return count === 0 ? fail(check, says, mend) : warn(check, says, `${mend}; it names those that you may not mount`);
}
