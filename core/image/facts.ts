import { type ByteString, byteString, hexOf, toBytes } from './bytes.js';
import { isCanonicalOf } from './canonical.js';
import { type ContentFacts, countInode, noContents } from './content-facts.js';
import { type VerityAlgorithm, type VerityDigest, verityDigestFromBytes } from './digest.js';
import { type ReadOptions, readImage, visitImage } from './reader.js';
import { MAX_NAME, type Node, isExternal, isLink } from './tree.js';
import type { ComposefsVersion } from './version.js';

const CAPABILITY = byteString('security.capability');

/** An object that files of an image need. */
export interface NeededObject {
  /** Undefined if the image does not pin it. */
  readonly digest: VerityDigest | undefined;
  /** Place below the object store; undefined if the image does not say. Bytes, not text. */
  readonly path: ByteString | undefined;
  /** Bytes of the object as the image states them. */
  readonly size: bigint;
}

/** What the tree of a composefs image holds, for rules to judge, and where its files point. */
export interface TreeFacts extends ContentFacts {
  /** External files whose object is not pinned by a digest. */
  readonly unpinned: number;
  /** External files whose redirect is missing or is not the path of their digest. */
  readonly misdirected: number;
  /** External files whose redirect is not plainly a path below the object store: it has an empty component, `.` or `..`. */
  readonly escaping: number;
}

export interface ImageFacts extends TreeFacts {
  readonly version: ComposefsVersion;
  readonly canonical: boolean;
  /** In the order of the inodes, each once. */
  readonly objects: readonly NeededObject[];
}

/** Reads an image and states what is in it. Throws FormatError if the reader refuses it. */
export function readFacts(bytes: Uint8Array, options: ReadOptions = {}): ImageFacts {
  const read = readImage(bytes, options);
  return { version: read.version, canonical: isCanonicalOf(bytes, read), ...factsOf(read.root) };
}

/** The same without what takes the whole tree: in a third of the time, and with little memory beside that of the image. */
export function readTreeFacts(bytes: Uint8Array, options: ReadOptions = {}): TreeFacts {
  const facts = noFacts();
  const { names } = visitImage(bytes, (node) => countNode(facts, node), options);
  return { ...facts, entries: names };
}

/** Shows the place of each object that files of an image need, once for each object, while the image is read. Throws FormatError, also after some were shown. */
export function visitObjects(bytes: Uint8Array, show: (path: NeededObject['path']) => void, options: ReadOptions = {}): void {
  const known = new Set<string>();
  const showNew = (node: Node): void => {
    const key = keyOf(node);
    if (known.has(key)) return;
    known.add(key);
    show(node.payload);
  };
  visitImage(bytes, (node) => void (isExternal(node) && showNew(node)), options);
}

/** The facts that follow from a tree alone. */
export function factsOf(root: Node): Omit<ImageFacts, 'version' | 'canonical'> {
  const facts = noFacts();
  facts.entries = 1;
  const objects = new Map<string, NeededObject>();
  const queue: Node[] = [root];
  for (let index = 0; index < queue.length; index += 1) {
    const node = queue[index] as Node;
    countNode(facts, node);
    if (isExternal(node) && !objects.has(keyOf(node))) objects.set(keyOf(node), objectOf(node));
    for (const entry of node.children?.values() ?? []) {
      facts.entries += 1;
      if (!isLink(entry)) queue.push(entry);
    }
  }
  return { ...facts, objects: [...objects.values()] };
}

type Counts = { -readonly [Name in keyof TreeFacts]: TreeFacts[Name] };

function noFacts(): Counts {
  return { ...noContents(), unpinned: 0, misdirected: 0, escaping: 0 };
}

function countNode(facts: Counts, node: Node): void {
  const { mode, rdev, uid, gid, xattrs, payload, digest } = node;
  countInode(facts, { mode, rdev, uid, gid, hasCapability: xattrs.has(CAPABILITY) });
  if (!isExternal(node)) return;
  if (digest === undefined) facts.unpinned += 1;
  if (digest === undefined || payload !== pathOf(digest)) facts.misdirected += 1;
  if (payload !== undefined && !payload.split('/').every(isPlainName)) facts.escaping += 1;
}

/** Place of an object below an object store, by its raw digest. */
function pathOf(digest: ByteString): string {
  const hex = hexOf(digest);
  return `${hex.slice(0, 2)}/${hex.slice(2)}`;
}

function isPlainName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && name.length <= MAX_NAME;
}

function keyOf(node: Node): string {
  return `${node.digest ?? ''} ${node.size} ${node.payload ?? ''}`;
}

function objectOf({ digest, payload, size }: Node): NeededObject {
  const pinned = digest === undefined ? undefined : verityDigestFromBytes(algorithmOf(digest), toBytes(digest));
  return { digest: pinned, path: payload, size };
}

function algorithmOf(digest: ByteString): VerityAlgorithm {
  return digest.length === 64 ? 'sha512' : 'sha256';
}
