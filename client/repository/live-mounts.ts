// The composefs mounts that the kernel shows: of all processes that can be seen, each in its mount namespace and below its root.
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { type VerityDigest, parseVerityDigest } from '../../core/image/digest.js';
import { digestOfHex } from './entries.js';

export interface OverlayMount {
  /** What the mount says its source is. */
  readonly source: string;
  /** The image, where the source names it. */
  readonly digest: VerityDigest | undefined;
  /** Paths of its data-only layers, led through the root of a process that sees the mount; others than absolute ones are as they were given. */
  readonly stores: readonly string[];
}

/** Overlays that say to be composefs, or have data-only layers, each kind once. What cannot be read is left out. */
export function listOverlayMounts(proc = '/proc'): OverlayMount[] {
  const seen = new Set<string>();
  const found = new Map<string, OverlayMount>();
  for (const pid of readdirSync(proc).filter((name) => /^[1-9]\d*$/.test(name))) {
    const view = viewOf(`${proc}/${pid}`);
    if (view !== undefined && seen.has(view)) continue;
    const text = readIfThere(`${proc}/${pid}/mountinfo`);
    if (text === undefined) continue;
    if (view !== undefined) seen.add(view);
    for (const line of text.split('\n').filter((each) => each.includes(' - overlay '))) {
      const mount = parseOverlay(line.slice(line.indexOf(' - overlay ')), `${proc}/${pid}/root`);
      found.set([mount.source, ...mount.stores].join('\n'), mount);
    }
  }
  return [...found.values()].filter(({ source, stores }) => source.startsWith(SOURCE) || stores.length > 0);
}

/** Processes with the same namespace and root see the same mounts. Undefined where this process may not look. */
function viewOf(directory: string): string | undefined {
  try {
    return `${readlinkSync(`${directory}/ns/mnt`)} ${readlinkSync(`${directory}/root`)}`;
  } catch {
    return undefined;
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined; // ended meanwhile, or not for this user
  }
}

const SOURCE = 'composefs:';

/** The end of a line of proc_pid_mountinfo(5): ` - overlay SOURCE OPTIONS`. */
function parseOverlay(tail: string, root: string): OverlayMount {
  const [, , , source = '', options = ''] = tail.split(' ');
  const stores = options
    .split(',')
    .flatMap(dataLayersOf)
    .map((store) => throughRoot(unescape(store), root));
  const plain = unescape(source);
  return { source: plain, digest: plain.startsWith(SOURCE) ? digestIn(plain.slice(SOURCE.length)) : undefined, stores };
}

/** `/` is what a detached layer shows. */
function throughRoot(store: string, root: string): string {
  return store.startsWith('/') && store !== '/' ? root + store : store;
}

/** `datadir+=PATH`, or what follows a double colon in `lowerdir=` (Documentation/filesystems/overlayfs.rst, "Data-only lower layers"). */
function dataLayersOf(option: string): string[] {
  if (option.startsWith('datadir+=')) return [option.slice('datadir+='.length)];
  return option.startsWith('lowerdir=') ? option.slice('lowerdir='.length).split('::').slice(1) : [];
}

/** Blanks and the like are `\ooo` there. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** This service writes a digest with its algorithm, composefs-rs without. */
function digestIn(name: string): VerityDigest | undefined {
  try {
    return parseVerityDigest(name);
  } catch {
    return digestOfHex(name);
  }
}
