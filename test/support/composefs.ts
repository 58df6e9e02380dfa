// composefs images written from dump lines, with what no tool writes: for tests only.
import { mkdirSync, writeFileSync, chmodSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { parseDump } from '../../core/image/dump-parser.js';
import { chooseVersion } from '../../core/image/version.js';
import { writeImage } from '../../core/image/writer.js';
import { digestOfBytes } from './images.js';

const ROOT = '/ 0 40755 2 0 0 0 0.0 - - -';

/** An image of the tree that the lines tell, the root's left out. */
export function composefsOf(lines: readonly string[]): Uint8Array {
  const root = parseDump(Buffer.from(`${[ROOT, ...lines].join('\n')}\n`, 'latin1'));
  return writeImage(root, chooseVersion(root));
}

/** Hex digits of a text's fs-verity digest, and its place in an object store. */
export function objectOf(text: string): { hex: string; place: string } {
  const hex = digestOfBytes(Buffer.from(text)).slice('sha256:'.length);
  return { hex, place: `${hex.slice(0, 2)}/${hex.slice(2)}` };
}

/** The dump line of a file whose bytes are an object; `redirect` is where the image says it is. */
export function externalFile(path: string, text: string, redirect: string = objectOf(text).place): string {
  return `${path} ${text.length} 100644 1 0 0 0 0.0 ${redirect} - ${objectOf(text).hex}`;
}

/** Puts bytes below an object store. */
export function putObject(store: string, place: string, text: string): void {
  mkdirSync(dirname(join(store, place)), { recursive: true });
  writeFileSync(join(store, place), text);
  chmodSync(join(store, place), 0o644);
}
