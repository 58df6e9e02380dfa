// What the repository keeps of an OCI image beside its tree: oci/<id>/ with the configuration, and names below oci/refs.
import { type VerityDigest, parseVerityDigest } from '../../core/image/digest.js';
import { DIR } from '../../core/image/tree.js';
import { isErrno } from '../../core/kernel/error.js';
import { O_RDONLY, openBeneath } from '../../core/kernel/file.js';
import { statEntry, statFd } from '../../core/kernel/stat.js';
import { O_DIRECTORY, O_PATH } from '../../core/kernel/file.js';
import { RequestError } from '../../core/wire/errors.js';
import { readPart } from '../inspect/read-image.js';
import { readLink } from '../repository/entries.js';
import { type Repository, readNamesOf } from '../repository/repository.js';

const REFS = 'oci/refs';
const MAX_DOCUMENT = 4 << 20;

export interface OciRecord {
  readonly id: string;
  readonly config: Uint8Array;
  readonly manifest: Uint8Array;
  readonly image: VerityDigest;
}

export function listOciNames({ root }: Repository): { readonly name: string; readonly id: string }[] {
  const names: string[] = [];
  const pending = [''];
  for (const prefix of pending) {
    for (const name of readNamesOf(root, `${REFS}/${prefix}`)) {
      using parent = openBeneath(root, `${REFS}/${prefix}`, O_PATH | O_DIRECTORY);
      if (statEntry(parent, name).mode >> 12 === DIR) pending.push(`${prefix}${name}/`);
      else names.push(prefix + name);
    }
  }
  return names.sort().map((name) => ({ name, id: readLink(root, `${REFS}/${name}`)?.split('/').at(-1) ?? '' }));
}

export function readOciRecord(repository: Repository, nameOrId: string): OciRecord {
  const id = /^[0-9a-f]{64}$/.test(nameOrId) ? nameOrId : readLink(repository.root, `${REFS}/${nameOrId}`)?.split('/').at(-1);
  if (id === undefined) throw new RequestError('NoSuchImage', `the repository has no OCI image ${nameOrId}`);
  const read = (name: string): Uint8Array => {
    try {
      using file = openBeneath(repository.root, `oci/${id}/${name}`, O_RDONLY);
      return readPart(file, 0, Math.min(statFd(file).size, MAX_DOCUMENT));
    } catch (cause) {
      if (!isErrno(cause, 'ENOENT')) throw cause;
      throw new RequestError('NoSuchImage', `the repository has no OCI image ${nameOrId}`, { cause });
    }
  };
  const { image } = JSON.parse(Buffer.from(read('image.json')).toString()) as { image: string };
  return { id, config: read('config.json'), manifest: read('manifest.json'), image: parseVerityDigest(image) };
}
