import type { ByteString } from './bytes.js';
import { type ContentCounts, type ContentFacts, countInode, noContents } from './content-facts.js';
import { type ErofsInode, directoryPieces, peekMode, readErofsInode } from './erofs-inode.js';
import { type ErofsVolume, openErofsVolume, requireNidHalves } from './erofs-volume.js';
import { hasCapability } from './erofs-xattrs.js';
import { FormatError } from './format-error.js';
import type { ImageSource } from './image-bytes.js';
import { createNidSet } from './nid-set.js';
import { readDirectoryBlock } from './reader-directory.js';
import { DIR, REG } from './tree.js';
import { direntTypeOf } from './writer.js';

/** Images of more names are refused: with this many, reading takes seconds. */
const MAX_ENTRIES = 4_194_304;

interface Directory {
  readonly inode: ErofsInode;
  readonly parentNid: number;
}

interface Entry {
  readonly name: ByteString;
  readonly nid: number;
  /** EROFS_FT_*. */
  readonly type: number;
}

/**
 * Walks a plain EROFS image, as mkfs.erofs makes it, and states what is in it. Only metadata are read, each part once: inodes, their xattrs and directories. Bytes may
 * come from anyone: time and memory grow linearly with the metadata, and every offset is checked. Throws FormatError on what is damaged and on what cannot be judged.
 */
export function readErofsFacts(source: ImageSource): ContentFacts {
  const volume = openErofsVolume(source);
  const facts = noContents();
  requirePackedFile(volume);
  const visited = createNidSet();
  visited.add(volume.rootNid);
  const root = readErofsInode(volume, volume.rootNid);
  if (root.mode >> 12 !== DIR) throw new FormatError('root-type', 'the root is not a directory');
  count(volume, facts, root);
  facts.entries = 1;
  // A queue, because directories may nest without bound.
  const queue: Directory[] = [{ inode: root, parentNid: volume.rootNid }];
  for (let index = 0; index < queue.length; index += 1) {
    const directory = queue[index] as Directory;
    for (const entry of readEntries(volume, directory)) {
      facts.entries += 1;
      if (facts.entries > MAX_ENTRIES) throw new FormatError('entries', `the image has more than ${MAX_ENTRIES} names`);
      const child = reach(entry);
      if (child !== undefined && child.mode >> 12 === DIR) queue.push({ inode: child, parentNid: directory.inode.nid });
    }
  }
  return facts;

  /** The inode of a name, unless it was met by another name before. */
  function reach(entry: Entry): ErofsInode | undefined {
    const mode = peekMode(volume, entry.nid);
    if (direntTypeOf(mode >> 12) !== entry.type)
      throw new FormatError('directory-type', 'a directory entry has another type than its inode');
    if (!visited.add(entry.nid)) {
      if (mode >> 12 === DIR) throw new FormatError('directory-twice', 'a directory has two names, or holds itself');
      return undefined;
    }
    const inode = readErofsInode(volume, entry.nid);
    count(volume, facts, inode);
    return inode;
  }
}

function count(volume: ErofsVolume, facts: ContentCounts, inode: ErofsInode): void {
  const { mode, uid, gid, locator } = inode;
  countInode(facts, { mode, uid, gid, rdev: locator, hasCapability: hasCapability(volume, inode) });
}

/** The kernel opens the packed inode when it mounts. */
function requirePackedFile(volume: ErofsVolume): void {
  if (volume.packedNid === undefined) return;
  const { mode } = readErofsInode(volume, volume.packedNid);
  if (mode >> 12 !== REG) throw new FormatError('packed-nid', 'the packed inode is not a regular file');
}

/** Entries of a directory but `.` and `..`, which must be there and right; names are strictly ascending. */
function* readEntries(volume: ErofsVolume, { inode, parentNid }: Directory): Generator<Entry, void, void> {
  let last = '';
  let dots = 0;
  for (const [from, to] of directoryPieces(volume, inode)) {
    const block = volume.bytes.slice(from, to);
    for (const { name, nidLow, nidHigh, type } of readDirectoryBlock(block, new DataView(block.buffer), 0, block.length)) {
      if (name <= last) throw new FormatError('directory-order', 'the names of a directory are not in ascending order');
      last = name;
      const nid = requireNidHalves(nidLow, nidHigh);
      if (name !== '.' && name !== '..') yield { name, nid, type };
      else {
        if (nid !== (name === '.' ? inode.nid : parentNid) || type !== direntTypeOf(DIR))
          throw new FormatError('directory-dots', '. or .. of a directory is wrong');
        dots += 1;
      }
    }
  }
  if (dots !== 2) throw new FormatError('directory-dots', 'a directory lacks . or ..');
}
