// What cfsctl fsck looks at of container images.
import type { ByteString } from '../../core/image/bytes.js';
import type { Fd } from '../../core/kernel/fd.js';
import { SyscallError } from '../../core/kernel/error.js';
import { RequestError } from '../../core/wire/errors.js';
import { showBytes } from '../inspect/shown-bytes.js';
import { hasImageEntry, imageEntry, readLink } from '../repository/entries.js';
import { type Problem, problem } from '../repository/problem.js';
import { readNamesOf } from '../repository/repository.js';
import { isOfDrafts } from '../store/drafts.js';
import { OCI_REFS, type OciRef, listOciRefs } from './names.js';
import { isOciId, listOciIds, readRecord } from './records.js';

/** A record without image.json is not finished: an import may be at work on it, or was. */
export function checkRecords(root: Fd): { readonly count: number; readonly problems: readonly Problem[] } {
  const ids = listOciIds(root);
  const strangers = readNamesOf(root, 'oci').filter((name) => name !== 'refs' && !isOciId(name) && !isOfDrafts(name));
  const problems = [
    ...strangers.sort().map((name) => problem(`oci/${name}`, 'unknown-entry', 'does not have the name of a container image')),
    ...ids.toSorted().flatMap((id) => checkRecord(root, id)),
    ...listOciRefs(root).flatMap((ref) => checkRef(root, ref, ids)),
  ];
  return { count: ids.length, problems };
}

function checkRecord(root: Fd, id: string): Problem[] {
  const where = `oci/${id}`;
  try {
    const image = readRecord(root, id)?.image;
    if (image === undefined || hasImageEntry(root, image)) return [];
    return [problem(where, 'missing', `needs ${imageEntry(image)}, which is missing`)];
  } catch (error) {
    if (error instanceof RequestError) return [problem(where, 'unreadable', error.message)];
    if (error instanceof SyscallError) return [problem(where, 'unreadable', `cannot be read (${error.code})`)];
    throw error;
  }
}

function checkRef(root: Fd, { name, id }: OciRef, ids: readonly string[]): Problem[] {
  const where = `${OCI_REFS}/${name}`;
  const target = readLink(root, where);
  if (target === undefined) return [problem(where, 'not-a-file', 'is not a symbolic link')];
  if (id === undefined)
    return [problem(where, 'wrong-link', `leads to ${showBytes(target as ByteString)}, not to one container image`)];
  return ids.includes(id) ? [] : [problem(where, 'dangling', `leads to oci/${id}, which is missing`)];
}
