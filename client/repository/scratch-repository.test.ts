// No tests: small repositories for the tests of what works in them.
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { type VerityDigest, objectPath } from '../../core/image/digest.js';
import { createVerityHasher } from '../../core/image/verity-hash.js';
import { importImage } from './import-image.js';
import { type OpenOptions, type Repository, openRepository } from './repository.js';

const directory = mkdtempSync(join(tmpdir(), 'cfsctl-repository-'));
after(() => rmSync(directory, { recursive: true }));

/** A new directory, removed after the tests of the file. */
export function freshDirectory(): string {
  return mkdtempSync(join(directory, 'd-'));
}

/** A directory of files by name. */
export function makeTree(files: Readonly<Record<string, string>>): string {
  const path = freshDirectory();
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(path, name, '..'), { recursive: true });
    writeFileSync(join(path, name), text);
  }
  return path;
}

/** So long that it becomes an object; its own for each text. */
export function content(text: string): string {
  return `${text}\n`.repeat(50);
}

export function openScratch(path: string, how: Partial<OpenOptions> = {}): Repository {
  return openRepository({ path, lock: 'shared', purpose: 'create', timeoutMs: 0, ...how });
}

export async function importTree(path: string, name: string, files: Readonly<Record<string, string>>): Promise<VerityDigest> {
  using repository = openScratch(path);
  return (await importImage(repository, { path: makeTree(files), objects: undefined }, name)).digest;
}

export function digestOf(text: string): VerityDigest {
  const hasher = createVerityHasher('sha256');
  hasher.update(Buffer.from(text));
  return hasher.digest();
}

/** Where an object is. */
export function objectFile(path: string, digest: VerityDigest): string {
  return join(path, 'objects', objectPath(digest));
}

/** Every path below a directory, with what is there: to see that nothing has changed. */
export function snapshot(path: string): Readonly<Record<string, string>> {
  const entries = readdirSync(path, { recursive: true, withFileTypes: true });
  const seen = entries.map((entry): [string, string] => {
    const name = join(entry.parentPath, entry.name);
    return [name, entry.isFile() ? readFileSync(name, 'latin1') : entry.isSymbolicLink() ? 'link' : 'directory'];
  });
  return Object.fromEntries(seen.sort(([a], [b]) => (a < b ? -1 : 1)));
}
