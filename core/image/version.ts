import { FormatError } from './format-error.js';
import { type Node, isLink, isWhiteout } from './tree.js';

/** Version of the composefs format, which decides how directories with whiteouts are marked. */
export type ComposefsVersion = 0 | 1;

export interface VersionRange {
  readonly min?: number | undefined;
  readonly max?: number | undefined;
}

/** The version an image of this tree gets. Without a range that is 0, or 1 if the tree has whiteouts; if only one end is given, the other is 0. */
export function chooseVersion(root: Node, range: VersionRange = {}): ComposefsVersion {
  const fixed = range.min !== undefined || range.max !== undefined;
  const min = requireVersion(range.min ?? 0);
  const max = requireVersion(range.max ?? (fixed ? 0 : 1));
  if (min === 1) return 1;
  return max === 1 && hasWhiteouts(root) ? 1 : 0;
}

function requireVersion(version: number): ComposefsVersion {
  if (version === 0 || version === 1) return version;
  throw new FormatError('composefs-version', 'the composefs format version must be 0 or 1');
}

function hasWhiteouts(root: Node): boolean {
  const directories: Node[] = [root];
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    for (const entry of directory.children?.values() ?? []) {
      if (isLink(entry)) continue;
      if (isWhiteout(entry)) return true;
      if (entry.children !== undefined) directories.push(entry);
    }
  }
  return false;
}
