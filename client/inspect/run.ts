// The commands that look into image files. Loaded when one of them runs: the others, and mount above all, shall not wait for it.
import { dumpLines } from '../../core/image/dump-writer.js';
import { factsOf } from '../../core/image/facts.js';
import type { ByteString } from '../../core/image/bytes.js';
import { formatJson, formatJsonArray, print, printPieces } from '../output.js';
import { describeAsJson, describeImage, formatDescription } from './describe-image.js';
import { type Found, findPath } from './find-path.js';
import { describeEntry, formatLine, listTree } from './list-tree.js';
import { type PlacedObject, objectsByPath, openObject, openStore } from './objects.js';
import { readComposefsFile } from './read-image.js';
import { showBytes } from './shown-bytes.js';
import { formatFault, formatVerification, verificationAsJson, verifyObjects } from './verify-objects.js';

export function runInfo(image: string, json: boolean): void {
  const description = describeImage(image);
  print(json ? formatJson(describeAsJson(description)) : formatDescription(description));
}

export function runLs(image: string, path: string, { recursive, json }: { recursive: boolean; json: boolean }): void {
  const found = findPath(readComposefsFile(image).root, path);
  const entries = listTree(found, recursive);
  const shown = recursive || found.node.children === undefined ? wholePath : lastName;
  printPieces(
    json ? formatJsonArray(map(entries, describeEntry)) : map(entries, (entry) => formatLine(entry.node, shown(entry))),
  );
}

const wholePath = ({ path }: Found): ByteString => path;
const lastName = ({ path }: Found): ByteString => path.slice(path.lastIndexOf('/') + 1) as ByteString;

export function runDump(image: string): void {
  printPieces(dumpLines(readComposefsFile(image).root));
}

export function runObjects(image: string, missingFrom: string | undefined, json: boolean): void {
  const needed = objectsByPath(factsOf(readComposefsFile(image).root).objects);
  const objects = missingFrom === undefined ? needed : listMissing(needed, missingFrom);
  const rows = objects.map(({ path, digest, size }) => ({ path: showBytes(path), digest: digest ?? null, size }));
  printPieces(json ? formatJsonArray(rows) : map(rows, ({ path }) => `${path}\n`));
}

function listMissing(objects: readonly PlacedObject[], storePath: string): PlacedObject[] {
  using store = openStore(storePath);
  return objects.filter(({ path }) => {
    using file = openObject(store, path) || undefined;
    return file === undefined;
  });
}

export function runVerify(image: string, storePath: string, json: boolean): void {
  using store = openStore(storePath);
  const verification = verifyObjects(factsOf(readComposefsFile(image).root).objects, store);
  if (json) print(formatJson(verificationAsJson(verification)));
  else printPieces([...verification.faults.map(formatFault), formatVerification(verification)]);
  if (verification.faults.length > 0) process.exitCode = 1;
}

function* map<T, U>(values: Iterable<T>, make: (value: T) => U): Generator<U, void, void> {
  for (const value of values) yield make(value);
}
