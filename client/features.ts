/** What each feature the service found in the kernel is for. One that is not listed is shown by its name alone. */
const PURPOSES: Readonly<Record<string, string>> = {
  erofs: 'EROFS images can be mounted',
  'overlay-detached-layers': 'composefs images can be mounted (Linux 6.15)',
  'clone-detached': 'an image mounted before is mounted again without reading it (Linux 6.15)',
  'overlay-verity': 'objects are checked against their digest when they are opened (Linux 6.6)',
  'fs-verity': 'the file system of the service keeps its copies unchangeable by fs-verity',
  statmount: 'mounts can be told apart without asking their file system (Linux 6.8)',
  'peer-pidfd': 'callers on the direct socket are held by pidfd (Linux 6.5)',
};

export function purposeOf(feature: string): string {
  return Object.hasOwn(PURPOSES, feature) ? (PURPOSES[feature] ?? '') : '';
}
