import { type ByteString, byteString, toBytes } from './bytes.js';
import { isCanonicalOf } from './canonical.js';
import { type VerityAlgorithm, type VerityDigest, objectPath, verityDigestFromBytes } from './digest.js';
import { type ReadOptions, readImage } from './reader.js';
import { BLK, CHR, type Node, REG, isExternal, isLink, isWhiteout, typeOf } from './tree.js';
import type { ComposefsVersion } from './version.js';

const CAPABILITY = byteString('security.capability');
const SET_UID = 0o4000;
const SET_GID = 0o2000;

/** An object that files of an image need. */
export interface NeededObject {
  /** Undefined if the image does not pin it. */
  readonly digest: VerityDigest | undefined;
  /** Place below the object store; undefined if the image does not say. Bytes, not text. */
  readonly path: ByteString | undefined;
  /** Bytes of the object as the image states them. */
  readonly size: bigint;
}

/** What an image holds, for rules to judge. Counts are of inodes unless said. */
export interface ImageFacts {
  readonly version: ComposefsVersion;
  readonly canonical: boolean;
  /** Names in the tree, the root among them. */
  readonly entries: number;
  /** Character and block devices other than whiteouts. */
  readonly devices: number;
  /** Regular files with the set-uid bit, and with the set-gid bit. */
  readonly setUid: number;
  readonly setGid: number;
  /** Regular files with file capabilities. */
  readonly fileCapabilities: number;
  readonly largestUid: number;
  readonly largestGid: number;
  /** External files whose object is not pinned by a digest. */
  readonly unpinned: number;
  /** External files whose redirect is missing or is not the path of their digest. */
  readonly misdirected: number;
  /** In the order of the inodes, each once. */
  readonly objects: readonly NeededObject[];
}

/** Reads an image and states what is in it. Throws FormatError if the reader refuses it. */
export function readFacts(bytes: Uint8Array, options: ReadOptions = {}): ImageFacts {
  const read = readImage(bytes, options);
  return { version: read.version, canonical: isCanonicalOf(bytes, read), ...factsOf(read.root) };
}

/** The facts that follow from a tree alone. */
export function factsOf(root: Node): Omit<ImageFacts, 'version' | 'canonical'> {
  const facts = {
    entries: 1,
    devices: 0,
    setUid: 0,
    setGid: 0,
    fileCapabilities: 0,
    largestUid: 0,
    largestGid: 0,
    unpinned: 0,
    misdirected: 0,
  };
  const objects = new Map<string, NeededObject>();
  const queue: Node[] = [root];
  for (let index = 0; index < queue.length; index += 1) {
    const node = queue[index] as Node;
    addInode(facts, node);
    if (isExternal(node)) addObject(facts, objects, node);
    for (const entry of node.children?.values() ?? []) {
      facts.entries += 1;
      if (!isLink(entry)) queue.push(entry);
    }
  }
  return { ...facts, objects: [...objects.values()] };
}

type Counts = { -readonly [Name in Exclude<keyof ImageFacts, 'version' | 'canonical' | 'objects'>]: ImageFacts[Name] };

function addInode(facts: Counts, node: Node): void {
  const type = typeOf(node);
  if (type === BLK || (type === CHR && !isWhiteout(node))) facts.devices += 1;
  if (type === REG && (node.mode & SET_UID) !== 0) facts.setUid += 1;
  if (type === REG && (node.mode & SET_GID) !== 0) facts.setGid += 1;
  if (type === REG && node.xattrs.has(CAPABILITY)) facts.fileCapabilities += 1;
  facts.largestUid = Math.max(facts.largestUid, node.uid);
  facts.largestGid = Math.max(facts.largestGid, node.gid);
}

function addObject(facts: Counts, objects: Map<string, NeededObject>, node: Node): void {
  const digest = node.digest === undefined ? undefined : verityDigestFromBytes(algorithmOf(node.digest), toBytes(node.digest));
  if (digest === undefined) facts.unpinned += 1;
  if (digest === undefined || node.payload !== objectPath(digest)) facts.misdirected += 1;
  const key = `${digest ?? ''} ${node.size} ${node.payload ?? ''}`;
  if (!objects.has(key)) objects.set(key, { digest, path: node.payload, size: node.size });
}

function algorithmOf(digest: ByteString): VerityAlgorithm {
  return digest.length === 64 ? 'sha512' : 'sha256';
}
