import type { ByteString } from '../../core/image/bytes.js';
import { LNK, type Node, isLink, typeOf } from '../../core/image/tree.js';
import { RequestError } from '../../core/wire/errors.js';
import { parseShownBytes, showBytes } from './shown-bytes.js';

export interface Found {
  /** From the root of the image, starting with a slash. */
  readonly path: ByteString;
  readonly node: Node;
}

/** Looks a path up in a tree, written as showBytes writes it. Symbolic links are not followed. Throws `RequestError` BadRequest. */
export function findPath(root: Node, text: string): Found {
  const path = parseShownBytes(text);
  if (path === undefined)
    throw new RequestError('BadRequest', `the path ${text} has a backslash that starts none of \\\\ \\n \\r \\t \\xHH`, {
      hint: 'write a backslash of the name itself as \\\\',
    });
  let found: Found = { path: '' as ByteString, node: root };
  for (const name of path.split('/') as ByteString[]) if (name !== '' && name !== '.') found = enter(found, name);
  return found.path === '' ? { ...found, path: '/' as ByteString } : found;
}

function enter({ path, node }: Found, name: ByteString): Found {
  const entry = node.children?.get(name);
  const next = `${path}/${name}` as ByteString;
  if (entry !== undefined) return { path: next, node: isLink(entry) ? entry.link : entry };
  throw new RequestError('BadRequest', `no such path in the image: ${showBytes(next)}`, { hint: hintFor(path, node) });
}

function hintFor(path: ByteString, node: Node): string | undefined {
  if (typeOf(node) !== LNK || node.target === undefined) return undefined;
  return `${showBytes(path)} is a symbolic link to ${showBytes(node.target)}; links are not followed here`;
}
