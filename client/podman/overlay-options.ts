// What podman tells a mount_program: PROG -o KEY=VALUE,… MOUNTPOINT. github.com/containers/storage, drivers/overlay/overlay.go.
import { readlinkSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { RequestError } from '../../core/wire/errors.js';

/** Lower layers, as they are given, the topmost first; none if there is no such option. Other options are for the program that mounts. Throws `RequestError` BadRequest. */
export function lowerLayersOf(args: readonly string[]): string[] {
  const lowers = optionsOf(args).filter((option) => option.startsWith('lowerdir='));
  if (lowers.length > 1) throw new RequestError('BadRequest', 'lowerdir is given twice');
  const list = lowers[0]?.slice('lowerdir='.length) ?? '';
  // fuse-overlayfs takes a backslash before a colon for a part of the name; podman writes none. A path that is read in two ways is refused.
  if (list.includes('\\')) throw new RequestError('BadRequest', 'a lower directory has a backslash in its path');
  return list.split(':').filter((path) => path !== '');
}

/** Of all -o, in either spelling. Empty ones are left out: podman writes two commas. */
function optionsOf(args: readonly string[]): string[] {
  return args
    .flatMap((arg, index) => {
      if (args[index - 1] === '-o') return [arg];
      return arg.startsWith('-o') && arg.length > 2 ? [arg.slice(2)] : [];
    })
    .flatMap((options) => options.split(','))
    .filter((option) => option !== '');
}

/** The directory of the layer that a lower path is the `diff` of: podman gives that path, or the one link below overlay/l that leads there. */
export function layerDirectoryOf(lower: string): string | undefined {
  const path = resolve(lower);
  const target = readLinkOf(path);
  const diff = target === undefined ? path : resolve(dirname(path), target);
  return basename(diff) === 'diff' ? dirname(diff) : undefined;
}

function readLinkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EINVAL') return undefined;
    throw new RequestError(
      'BadRequest',
      `the lower directory ${path} cannot be read (${(error as NodeJS.ErrnoException).code})`,
      {
        cause: error,
      },
    );
  }
}
