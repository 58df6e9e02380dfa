// Reads the policy directories: every file must be root's alone, or nothing is loaded.
import { readFileSync } from 'node:fs';

import { gidOf, uidOf } from '../../core/kernel/identity.js';
import { statAt } from '../../core/kernel/stat.js';
import { whyReplaceable } from '../../core/kernel/trusted-path.js';
import { loadPolicy, type PolicyText } from '../load.js';
import type { Policy } from '../policy.js';
import { PolicyError } from '../problem.js';
import { findPolicyFiles } from './directories.js';

const refuse = (file: string, message: string): never => {
  throw new PolicyError([{ file, line: 1, message }]);
};

/** Throws PolicyError unless a file is root's alone. */
export function readTrustedFile(path: string): Uint8Array {
  const { type } = statAt(null, path);
  if (type === 'symlink') refuse(path, 'is a symbolic link; put the file itself there, or a link to /dev/null to take it out');
  if (type !== 'file') refuse(path, 'is not a regular file; remove it');
  const why = whyReplaceable(path);
  if (why) refuse(path, why);
  return readFileSync(path);
}

function readText(path: string): PolicyText {
  const bytes = readTrustedFile(path);
  try {
    return { path, text: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch (error) {
    if (error instanceof TypeError) return refuse(path, 'is not UTF-8 text; save it as UTF-8');
    throw error;
  }
}

/**
 * The policy that the directories hold now, a file of a later one masking those of the same name; `draft` stands for the file that is about to be written at its
 * path. Throws PolicyError, or SyscallError and the like where a file cannot be read.
 */
export function readPolicyFrom(directories: readonly string[], draft?: PolicyText): Policy {
  const files = new Map(findPolicyFiles(directories));
  if (draft) files.set(draft.path.slice(draft.path.lastIndexOf('/') + 1), draft.path);
  const names = [...files.keys()].filter((name) => name.endsWith('.toml')).sort();
  const texts = names.map((name) => (files.get(name) === draft?.path ? draft! : readText(files.get(name)!)));
  const listNamed = (name: string): { path: string; bytes: Uint8Array } | undefined => {
    const path = files.get(name);
    return path === undefined ? undefined : { path, bytes: readTrustedFile(path) };
  };
  return loadPolicy(texts, { uidOf, gidOf, listNamed });
}
