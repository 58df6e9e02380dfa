// What cfsctl gc does with container images: those without a name go, those with one keep their image.
import type { VerityDigest } from '../../core/image/digest.js';
import { fsync } from '../../core/kernel/durable.js';
import { isErrno } from '../../core/kernel/error.js';
import type { Fd } from '../../core/kernel/fd.js';
import { O_DIRECTORY, O_RDONLY, openBeneath, removeDirectoryAt, unlinkAt } from '../../core/kernel/file.js';
import { RequestError } from '../../core/wire/errors.js';
import { showBytes } from '../inspect/shown-bytes.js';
import { readNamesOf } from '../repository/repository.js';
import { removeAbandonedDrafts } from '../store/drafts.js';
import { OCI_REFS, listOciRefs } from './names.js';
import { isOciId, readRecord } from './records.js';

export interface SortedRecords {
  /** Of the container images that have a name. */
  readonly images: readonly VerityDigest[];
  /** Ids of the others, and of those whose import was not finished. */
  readonly unnamed: readonly string[];
}

/** Throws `RequestError` if it cannot be told what a name stands for. */
export function sortRecords(root: Fd): SortedRecords {
  const named = new Set(listOciRefs(root).map(({ name, id }) => id ?? refuse(name)));
  const images = [...named].flatMap((id) => readRecord(root, id)?.image ?? []);
  const unnamed = readNamesOf(root, 'oci').filter((name) => isOciId(name) && !named.has(name));
  return { images, unnamed: unnamed.sort() };
}

function refuse(name: string): never {
  throw new RequestError(
    'Failed',
    `${OCI_REFS}/${showBytes(name as never)} leads to no record, so what it stands for is not known`,
    {
      hint: 'cfsctl fsck tells more; remove it, or mend it',
    },
  );
}

/** Nobody else may be at work in the repository. */
export function removeRecords(root: Fd, ids: readonly string[]): void {
  if (!readNamesOf(root, '.').includes('oci')) return;
  using parent = openBeneath(root, 'oci', O_RDONLY | O_DIRECTORY);
  for (const id of ids) removeRecord(parent, id);
  if (ids.length > 0) fsync(parent);
  removeAbandonedDrafts(parent);
}

/** What makes it one goes first. */
function removeRecord(parent: Fd, id: string): void {
  using directory = openBeneath(parent, id, O_RDONLY | O_DIRECTORY);
  const names = readNamesOf(directory, '.');
  try {
    for (const name of names.toSorted((a, b) => Number(b === 'image.json') - Number(a === 'image.json')))
      unlinkAt(directory, name);
    removeDirectoryAt(parent, id);
  } catch (error) {
    // Somebody else put a directory there.
    if (!isErrno(error, 'EISDIR', 'ENOTEMPTY')) throw error;
  }
}
