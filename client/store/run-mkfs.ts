// cfsctl mkfs. As mkcomposefs does it; but the image is there when it is whole, or not at all.
import { isatty } from 'node:tty';
import { FormatError } from '../../core/image/format-error.js';
import { digestHex, verityDigestFromBytes } from '../../core/image/digest.js';
import { parseDump } from '../../core/image/dump-parser.js';
import { factsOf } from '../../core/image/facts.js';
import type { Node } from '../../core/image/tree.js';
import { type ComposefsVersion, chooseVersion } from '../../core/image/version.js';
import { planImage } from '../../core/image/writer.js';
import { RequestError } from '../../core/wire/errors.js';
import { formatJson, print } from '../output.js';
import { buildTreeShown } from './build-tree-shown.js';
import { createFileHasher } from './file-hasher.js';
import { type WrittenObjects, openObjectStore } from './object-store.js';
import { readToEnd } from './read-to-end.js';
import type { ScanOptions } from './scan-tree.js';
import { writeImageFile } from './write-image-file.js';

/** As on the command line. */
export interface MkfsOptions extends Omit<ScanOptions, 'epoch'> {
  readonly useEpoch?: true;
  readonly digestStore?: string;
  readonly fromFile?: true;
  readonly printDigest?: true;
  readonly printDigestOnly?: true;
  readonly minVersion?: number;
  readonly maxVersion?: number;
}

interface Source {
  readonly root: Node;
  /** Objects that were not in the store; undefined without one. */
  readonly written?: WrittenObjects;
}

export async function runMkfs(source: string, image: string | undefined, options: MkfsOptions, json: boolean): Promise<void> {
  if (image === '-') requireNoTerminal();
  const { root, written } = options.fromFile === true ? readDump(source) : await readDirectory(source, options);
  const version = chooseVersion(root, { min: options.minVersion, max: options.maxVersion });
  const bytes = orRefuse(source, () => makeImage(root, version));
  const digest = verityDigestFromBytes('sha256', createFileHasher('sha256').hashBytes(bytes));
  if (image !== undefined) writeImageFile(image, bytes);
  if (json)
    print(
      formatJson({
        digest,
        size: bytes.length,
        version,
        ...countsOf(root),
        written: written === undefined ? null : { ...written, bytes: BigInt(written.bytes) },
      }),
    );
  else if (options.printDigest === true || options.printDigestOnly === true) print(`${digestHex(digest)}\n`);
}

function requireNoTerminal(): void {
  if (!isatty(1)) return;
  throw new RequestError('BadRequest', 'standard output is a terminal', { hint: 'an image is no text: send it to a file' });
}

function readDump(source: string): Source {
  const bytes = readToEnd(source);
  return { root: orRefuse(source === '-' ? 'standard input' : source, () => parseDump(bytes)) };
}

async function readDirectory(source: string, options: MkfsOptions): Promise<Source> {
  const { digestStore, useEpoch } = options;
  using store = digestStore === undefined ? undefined : openObjectStore(digestStore, { create: true });
  const { root, written } = await buildTreeShown(source, { ...options, epoch: useEpoch, store });
  return store === undefined ? { root } : { root, written };
}

function makeImage(root: Node, version: ComposefsVersion): Uint8Array {
  const plan = planImage(root, version);
  const bytes = new Uint8Array(plan.size);
  plan.write(bytes);
  return bytes;
}

/** Names in the tree, and different objects with their bytes. */
function countsOf(root: Node): { entries: number; objects: number; objectBytes: bigint } {
  const { entries, objects } = factsOf(root);
  return { entries, objects: objects.length, objectBytes: objects.reduce((sum, { size }) => sum + size, 0n) };
}

/** Says of what `make` is about if it does not fit the format. Throws `RequestError`. */
function orRefuse<T>(what: string, make: () => T): T {
  try {
    return make();
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause;
    throw new RequestError('BadRequest', `${what}: ${cause.message}`, { cause });
  }
}
