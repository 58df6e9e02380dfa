// A place for imports of container images by the built cfsctl, as an ordinary user.
import assert from 'node:assert/strict';
import { chownSync } from 'node:fs';
import { join } from 'node:path';

import { outputOf } from './cfsctl.js';
import { dockerArchive, type ImageMaking, writeArchive } from './oci-image.js';
import { makeScratch } from './scratch.js';

/** Who cfsctl runs as. */
const UID = 4712;

export interface OciImported {
  readonly id: string;
  readonly digest: string;
  readonly platform: string;
  readonly layers: readonly { readonly diffId: string; readonly size: number }[];
  readonly written: { readonly objects: number; readonly bytes: string };
}

export const text = (word: string, times = 50): string => `${word}\n`.repeat(times);

export interface OciRoom {
  at(...names: string[]): string;
  /** A path where nothing is. */
  fresh(what: string): string;
  importInto(repository: string, ...words: string[]): OciImported;
  /** Path of a docker-archive of one image. */
  archiveOf(making: ImageMaking): string;
  /** Paths of the image, with what the dump says of them: size, mode, number of names, owner; payload, or content or target. */
  treeOf(repository: string, digest: string): Map<string, string>;
  pathsOf(repository: string, digest: string): string[];
  assertSound(repository: string, counts?: RegExp): void;
  remove(): void;
}

export function makeOciRoom(): OciRoom {
  const scratch = makeScratch();
  if (process.getuid?.() === 0) chownSync(scratch.path, UID, UID);
  let count = 0;
  const at = (...names: string[]): string => join(scratch.path, ...names);
  const fresh = (what: string): string => at(`${what}-${count++}`);
  const treeOf = (repository: string, digest: string): Map<string, string> => {
    const dump = outputOf('dump', join(repository, 'images', digest.slice('sha256:'.length)));
    return new Map(dump.trimEnd().split('\n').map(entryOf));
  };
  return {
    at,
    fresh,
    importInto: (repository, ...words) =>
      JSON.parse(outputOf('--json', 'oci', 'import', '--repo', repository, ...words)) as OciImported,
    archiveOf: (making) => writeArchive(`${fresh('image')}.tar`, dockerArchive([making])),
    treeOf,
    pathsOf: (repository, digest) => [...treeOf(repository, digest).keys()],
    assertSound(repository, counts = /./) {
      const said = outputOf('fsck', '--repo', repository);
      assert.match(said, /: all is well\n$/);
      assert.match(said, counts);
    },
    remove: scratch.remove,
  };
}

function entryOf(line: string): [path: string, entry: string] {
  const [path = '', size, mode, nlink, uid, gid, , , payload] = line.split(' ');
  return [path, `${size} ${mode} ${nlink} ${uid}:${gid} ${payload}`];
}
