/** How composefs images are mounted, by the feature that this takes, the best first. */
const TIERS = [
  ['overlay-detached-layers', 'composefs by descriptor (Linux 6.15)'],
  ['overlay-layer-paths', 'composefs by path (Linux 6.7)'],
  ['overlay-layer-list', 'composefs by path list (Linux 6.5)'],
  ['overlay-plain-list', 'composefs by plain path list'],
  ['erofs', 'plain EROFS only'],
] as const;

const JOINED = 'layers of composefs images are attached where nobody sees them, and joined';

/** What each feature the service found in the kernel is for. One that is not listed is shown by its name alone. */
const PURPOSES: Readonly<Record<string, string>> = {
  erofs: 'EROFS images can be mounted',
  'overlay-detached-layers': 'layers of composefs images are joined by descriptor, attached nowhere (Linux 6.15)',
  'overlay-layer-paths': `${JOINED} (Linux 6.7)`,
  'overlay-layer-list': `${JOINED} (Linux 6.5)`,
  'overlay-plain-list': JOINED,
  'clone-detached': 'an image mounted before is mounted again without reading it (Linux 6.15)',
  'overlay-verity': 'objects are checked against their digest when they are opened (Linux 6.6)',
  'fs-verity': 'the file system of the service keeps its copies unchangeable by fs-verity',
  statmount: 'mounts can be told apart without asking their file system (Linux 6.8)',
  'peer-pidfd': 'callers on the direct socket are held by pidfd (Linux 6.5)',
};

export function purposeOf(feature: string): string {
  return Object.hasOwn(PURPOSES, feature) ? (PURPOSES[feature] ?? '') : '';
}

/** The way of mounting that the features allow, in words. */
export function tierOf(features: readonly string[]): string {
  return TIERS.find(([feature]) => features.includes(feature))?.[1] ?? 'none: neither EROFS nor composefs images can be mounted';
}

/** What the kernel lacks, by name. Of the older ways to mount composefs images none is missed where there is a newer one. */
export function lackingOf(features: readonly string[]): string[] {
  const older = new Set<string>(TIERS.slice(1, -1).map(([feature]) => feature));
  return Object.keys(PURPOSES).filter((feature) => !features.includes(feature) && !older.has(feature));
}
