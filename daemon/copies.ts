// Private copies of images that a caller handed in: hashed while copied, named by digest, in a directory only root can enter.
import { mkdirSync, readdirSync, readFileSync, rmSync, utimesSync } from 'node:fs';
import { join } from 'node:path';

import { digestHex, digestAlgorithm, parseVerityDigest, type VerityDigest } from '../core/image/digest.js';
import { isErrno } from '../core/kernel/error.js';
import type { OwnedFd } from '../core/kernel/fd.js';
import { linkUnnamed, O_DIRECTORY, O_RDONLY, openBeneath, openPath, openUnnamed, unlinkAt } from '../core/kernel/file.js';
import { statFd } from '../core/kernel/stat.js';
import { RequestError } from '../core/wire/errors.js';

const MAX_COPIES = 256;
const MAX_BYTES = 8 * 2 ** 30;
const MAX_BYTES_PER_USER = 2 * 2 ** 30;

export interface Copies {
  /** Where they are. */
  readonly directory: OwnedFd;
  /** The copy with this digest, open for reading, for a user who has shown these bytes before: a digest alone gives nobody a file's content. */
  find(digest: VerityDigest, payer: number): OwnedFd | undefined;
  /** An empty unnamed file for a copy of `size` bytes; it vanishes when closed, unless kept. `done` gives its room back. */
  create(size: number, payer: number): { file: OwnedFd; done: () => void };
  /** Gives the copy its name and drops the ones not used for longest beyond the bounds. */
  keep(copy: OwnedFd, digest: VerityDigest, payer: number): void;
  count(): number;
  close(): void;
}

const fileName = (digest: VerityDigest): string => `${digestAlgorithm(digest)}-${digestHex(digest)}`;

function digestOfName(name: string): VerityDigest | undefined {
  try {
    return parseVerityDigest(name.replace('-', ':'));
  } catch {
    return undefined;
  }
}

/**
 * Opens the store below the state directory. Copies are kept for this boot only: after a crash of the host a file may have a name but
 * lack its bytes, and nothing here waits for the disk.
 */
export function openCopies(stateDirectory: string): Copies {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const parent = join(stateDirectory, 'copies');
  const path = join(parent, boot);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  for (const other of readdirSync(parent)) if (other !== boot) rmSync(join(parent, other), { recursive: true });
  const directory = openPath(path, O_RDONLY | O_DIRECTORY);

  /** Sizes by digest, the one used last at the end. */
  const sizes = new Map<VerityDigest, number>();
  const found = readdirSync(path).map((name) => ({ name, digest: digestOfName(name) }));
  for (const { name, digest } of found) {
    if (!digest) rmSync(join(path, name), { recursive: true });
  }
  const aged = found.flatMap(({ name, digest }) => {
    if (!digest) return [];
    using file = openBeneath(directory, name, O_RDONLY);
    return [{ digest, status: statFd(file) }];
  });
  aged.sort((a, b) => Number(a.status.mtime - b.status.mtime));
  for (const { digest, status } of aged) sizes.set(digest, status.size);

  /** Bytes of copies that are being made, by who pays. */
  const inMaking = new Map<number, number>();
  const shownBy = new Map<VerityDigest, Set<number>>();

  function giveBack(payer: number, size: number): void {
    const left = (inMaking.get(payer) ?? 0) - size;
    if (left > 0) inMaking.set(payer, left);
    else inMaking.delete(payer);
  }

  const total = (): number => [...sizes.values()].reduce((sum, size) => sum + size, 0);

  function dropOldest(): void {
    while (sizes.size > MAX_COPIES || total() > MAX_BYTES) {
      const oldest = sizes.keys().next().value!;
      sizes.delete(oldest);
      shownBy.delete(oldest);
      unlinkAt(directory, fileName(oldest));
    }
  }

  return {
    directory,
    find(digest, payer) {
      const size = sizes.get(digest);
      if (size === undefined || !shownBy.get(digest)?.has(payer)) return undefined;
      sizes.delete(digest);
      sizes.set(digest, size);
      utimesSync(join(path, fileName(digest)), new Date(), new Date());
      return openBeneath(directory, fileName(digest), O_RDONLY);
    },
    create(size, payer) {
      const own = inMaking.get(payer) ?? 0;
      const all = [...inMaking.values()].reduce((sum, bytes) => sum + bytes, 0);
      if (own + size > MAX_BYTES_PER_USER || all + size > MAX_BYTES) {
        throw new RequestError(
          'QuotaExceeded',
          `no room for a private copy of ${size} bytes; a user may have ${MAX_BYTES_PER_USER} in the making`,
          {
            hint: 'enable fs-verity on the file (fsverity enable), or ask the administrator to import the image',
          },
        );
      }
      const file = openUnnamed(directory);
      inMaking.set(payer, own + size);
      return { file, done: () => giveBack(payer, size) };
    },
    keep(copy, digest, payer) {
      try {
        linkUnnamed(copy, directory, fileName(digest));
      } catch (error) {
        if (!isErrno(error, 'EEXIST')) throw error; // the same bytes came twice at once
      }
      sizes.set(digest, statFd(copy).size);
      shownBy.set(digest, (shownBy.get(digest) ?? new Set()).add(payer));
      dropOldest();
    },
    count: () => sizes.size,
    close: () => directory.close(),
  };
}
