// Names of OCI images: symbolic links below oci/refs, as those below images/refs.
import type { Fd } from '../../core/kernel/fd.js';
import { readLink, walkRefs } from '../repository/entries.js';
import { makeDirectory } from '../repository/repository.js';
import { placeNameLink, removeEntry } from '../repository/links.js';

export const OCI_REFS = 'oci/refs';

export interface OciRef {
  readonly name: string;
  /** Undefined if the link leads to no record, by its form. */
  readonly id: string | undefined;
}

export function listOciRefs(root: Fd): OciRef[] {
  return walkRefs(root, OCI_REFS).refs.map(({ path, target }) => ({ name: path, id: idOfTarget(path, target) }));
}

/** Undefined if there is no such name. */
export function idOfName(root: Fd, name: string): string | undefined {
  return idOfTarget(name, readLink(root, `${OCI_REFS}/${name}`));
}

function idOfTarget(name: string, target: string | undefined): string | undefined {
  const up = '../'.repeat(name.split('/').length);
  const id = target?.startsWith(up) === true ? target.slice(up.length) : '';
  return /^[0-9a-f]{64}$/.test(id) ? id : undefined;
}

/** Gives an image a name, in place of the one that had it. The record must be there. Throws `RequestError` BadRequest. */
export function setOciRef(root: Fd, name: string, id: string): void {
  makeDirectory(root, 'oci');
  makeDirectory(root, OCI_REFS);
  placeNameLink(root, OCI_REFS, name, id);
}

/** Takes a name away; false if there is none. */
export function removeOciRef(root: Fd, name: string): boolean {
  const path = `${OCI_REFS}/${name}`;
  if (readLink(root, path) === undefined) return false;
  removeEntry(root, path);
  return true;
}
