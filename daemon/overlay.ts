// The overlay that joins an image with its object stores. How overlayfs takes its layers has changed from kernel to kernel.
import type { Fd, OwnedFd } from '../core/kernel/fd.js';
import { fsconfigCreate, fsconfigFd, fsconfigString, fsmount, fsopen } from '../core/kernel/mount.js';

export interface OverlayOptions {
  readonly name: string;
  /** Every object must have the fs-verity digest that the image says. */
  readonly requireVerity: boolean;
}

export interface Layers extends OverlayOptions {
  readonly erofs: Fd;
  readonly objects: readonly Fd[];
}

function createOverlay({ name, requireVerity }: OverlayOptions, attributes: number, addLayers: (context: Fd) => void): OwnedFd {
  using context = fsopen('overlay');
  fsconfigString(context, 'source', `composefs:${name}`);
  fsconfigString(context, 'metacopy', 'on');
  fsconfigString(context, 'redirect_dir', 'on');
  if (requireVerity) fsconfigString(context, 'verity', 'require');
  addLayers(context);
  fsconfigCreate(context);
  return fsmount(context, attributes);
}

/** Of detached layers, by descriptor (Linux 6.15). */
export function mountOverlay({ erofs, objects, ...options }: Layers, attributes: number): OwnedFd {
  return createOverlay(options, attributes, (context) => {
    fsconfigFd(context, 'lowerdir+', erofs);
    for (const store of objects) fsconfigFd(context, 'datadir+', store);
  });
}

/** How overlayfs takes layers that are attached in the mount namespace of the thread, the newest way first. */
export const PATH_WAYS = ['paths', 'list', 'plain-list'] as const;
export type PathWay = (typeof PATH_WAYS)[number];

/** Of attached layers, by their paths, in which there is no colon. */
export function mountOverlayOfPaths(
  way: PathWay,
  erofs: string,
  stores: readonly string[],
  options: OverlayOptions,
  attributes: number,
): OwnedFd {
  return createOverlay(options, attributes, (context) => {
    switch (way) {
      case 'paths': // Linux 6.7
        fsconfigString(context, 'lowerdir+', erofs);
        for (const store of stores) fsconfigString(context, 'datadir+', store);
        break;
      case 'list': // Linux 6.5: what follows two colons holds data only
        fsconfigString(context, 'lowerdir', [erofs, ...stores].join('::'));
        break;
      case 'plain-list': // Stores are layers like others: the image's whiteouts 00 to ff hide what is in them
        fsconfigString(context, 'lowerdir', [erofs, ...stores].join(':'));
        break;
    }
  });
}
