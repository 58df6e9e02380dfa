// Images made on the spot by other tools, and repositories of root's.
import { chmodSync, copyFileSync, mkdirSync, symlinkSync, writeFileSync, readFileSync, mkdtempSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { createVerityHasher } from '../../core/image/verity-hash.js';
import type { VerityAlgorithm } from '../../core/image/digest.js';
import { run, SHARED } from './machine.js';

/** A plain EROFS image of a tree: the files given by relative path. Returns its fs-verity digest. */
export function makeErofs(image: string, files: Readonly<Record<string, string>>, ...flags: string[]): string {
  const tree = mkdtempSync(join(dirname(image), 'tree-'));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    writeFileSync(join(tree, path), text);
  }
  chmodSync(tree, 0o755);
  run('mkfs.erofs', '--quiet', ...flags, image, tree);
  chmodSync(image, 0o644);
  return digestOfFile(image);
}

export function digestOfFile(path: string, algorithm: VerityAlgorithm = 'sha256'): string {
  return digestOfBytes(readFileSync(path), algorithm);
}

export function digestOfBytes(bytes: Uint8Array, algorithm: VerityAlgorithm = 'sha256'): string {
  const hasher = createVerityHasher(algorithm);
  hasher.update(bytes);
  return hasher.digest();
}

/** Puts an image into a repository (composefs repository layout), with a name if one is given. */
export function addToRepository(repository: string, image: string, name?: string): string {
  const digest = digestOfFile(image);
  const hex = digest.slice('sha256:'.length);
  const object = join('objects', hex.slice(0, 2), hex.slice(2));
  for (const directory of [dirname(object), 'images/refs', name ? join('images/refs', dirname(name)) : 'images/refs']) {
    mkdirSync(join(repository, directory), { recursive: true });
  }
  copyFileSync(image, join(repository, object));
  chmodSync(join(repository, object), 0o644);
  symlinkSync(join('..', object), join(repository, 'images', hex));
  if (name !== undefined) symlinkSync(`${'../'.repeat(name.split('/').length)}${hex}`, join(repository, 'images/refs', name));
  return digest;
}

/** The composefs sample with its objects, as a repository with the image name "sample". Returns its digest. */
export function makeSampleRepository(repository: string): string {
  mkdirSync(repository, { recursive: true });
  run('tar', '-C', repository, '--no-same-owner', '-xzf', join(SHARED, 'sample/objects.tar.gz'));
  const image = join(repository, '..', 'sample.cfs');
  copyFileSync(join(SHARED, 'sample/sample.cfs'), image);
  const digest = addToRepository(repository, image, 'sample');
  run('chmod', '-R', 'u=rwX,go=rX', repository);
  return digest;
}

/** A policy that trusts digests, with the repositories given. */
export function policyText(options: {
  digests: readonly string[];
  users?: readonly number[];
  repositories?: Readonly<Record<string, 'trusted' | 'verity'>>;
  extra?: string;
  /** Further lines of the rule. */
  conditions?: string;
}): string {
  const repositories = Object.entries(options.repositories ?? {}).map(
    ([path, objects]) => `[[repository]]\npath = "${path}"\nobjects = "${objects}"\n`,
  );
  const users = options.users ? `users = [${options.users.join(', ')}]\n` : '';
  const rule = `[[rule]]\nname = "test"\ndigests = [${options.digests.map((digest) => `"${digest}"`).join(', ')}]\n${users}${options.conditions ?? ''}\n`;
  return `${options.extra ?? ''}\n${repositories.join('\n')}\n${options.digests.length > 0 ? rule : ''}`;
}
