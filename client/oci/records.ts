// What a repository keeps of an OCI image beside its files: oci/<id>/{config.json,manifest.json,image.json}, and names below oci/refs that lead there. The id is the
// image's own: the SHA-256 of its configuration.
import { z } from 'zod';
import { type VerityDigest, parseVerityDigest } from '../../core/image/digest.js';
import type { ByteString } from '../../core/image/bytes.js';
import type { Fd } from '../../core/kernel/fd.js';
import { readAt } from '../../core/kernel/file.js';
import { statFd } from '../../core/kernel/stat.js';
import { RequestError } from '../../core/wire/errors.js';
import { openObject } from '../inspect/objects.js';
import { type Repository, atRepository, readNamesOf } from '../repository/repository.js';
import { OCI_LIMITS } from './limits.js';
import { idOfName, listOciRefs } from './names.js';
import { config as imageConfig, sha256Of } from './source/blobs.js';

export interface OciLayer {
  /** SHA-256 of the layer's tar archive, unpacked; and its bytes. */
  readonly diffId: string;
  readonly size: number;
}

export interface OciRecord {
  /** 64 hex digits. */
  readonly id: string;
  /** Bytes as they were in the source. */
  readonly config: Buffer;
  /** As it was in the source; of a docker-archive, one that was made for it. */
  readonly manifest: Buffer;
  /** fs-verity digest of the image of all layers together. */
  readonly image: VerityDigest;
  /** From the bottom up. */
  readonly layers: readonly OciLayer[];
  /** `linux/amd64`, `linux/arm64/v8`. */
  readonly platform: string;
  /** When it was imported, ISO 8601. */
  readonly imported: string;
}

const OCI_ID = /^[0-9a-f]{64}$/;

export function isOciId(name: string): boolean {
  return OCI_ID.test(name);
}

const sha256 = z.string().regex(/^sha256:[0-9a-f]{64}$/);

/** image.json. */
const facts = z.strictObject({
  version: z.literal(1),
  image: z.string(),
  layers: z.array(z.strictObject({ diffId: sha256, size: z.int().min(0) })),
  platform: z.string().max(200),
  imported: z.iso.datetime(),
});

/** Names of OCI images, sorted, each with the id of its image. Throws `RequestError`. */
export function listOciNames({ root, path }: Repository): { readonly name: string; readonly id: string }[] {
  return atRepository(path, () =>
    listOciRefs(root)
      .flatMap(({ name, id }) => (id === undefined ? [] : [{ name, id }]))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
  );
}

/** Ids of all images of which there is a whole record. */
export function listOciIds(root: Fd): string[] {
  return readNamesOf(root, 'oci').filter((id) => isOciId(id) && readNamesOf(root, `oci/${id}`).includes('image.json'));
}

/** The id of the one OCI image that has this image; undefined if there is none, or several. Throws `RequestError` BadImage. */
export function onlyIdOf(root: Fd, image: VerityDigest): string | undefined {
  const ids = listOciIds(root).filter((id) => readRecord(root, id)?.image === image);
  return ids.length === 1 ? ids[0] : undefined;
}

/** By a name or an id. Throws `RequestError`: NoSuchImage if there is none, BadImage if the record is not as it must be. */
export function readOciRecord({ root, path }: Repository, nameOrId: string): OciRecord {
  return atRepository(path, () => {
    const id = isOciId(nameOrId) ? nameOrId : idOfName(root, nameOrId);
    const record = id === undefined ? undefined : readRecord(root, id);
    if (record !== undefined) return record;
    throw new RequestError('NoSuchImage', `the repository ${path} has no OCI image ${nameOrId}`, {
      hint: 'cfsctl oci import puts an image there; --repo names another repository',
    });
  });
}

/** Undefined if there is none, or it is not finished. Throws `RequestError` BadImage. */
export function readRecord(root: Fd, id: string): OciRecord | undefined {
  const text = readFileOf(root, `oci/${id}/image.json`);
  if (text === undefined) return undefined;
  const config = readFileOf(root, `oci/${id}/config.json`);
  const manifest = readFileOf(root, `oci/${id}/manifest.json`);
  if (config === undefined || manifest === undefined) throw badRecord(id, 'is not complete');
  if (sha256Of(config) !== `sha256:${id}`) throw badRecord(id, 'has another configuration than its name says');
  try {
    const { version: _, image, ...rest } = facts.parse(JSON.parse(text.toString('utf8')));
    const { rootfs } = imageConfig.parse(JSON.parse(config.toString('utf8')));
    if (rootfs.diff_ids.join() !== rest.layers.map(({ diffId }) => diffId).join())
      throw new Error('other layers than the configuration');
    return { id, config, manifest, image: parseVerityDigest(image), ...rest };
  } catch (cause) {
    throw badRecord(id, 'has an image.json that is not as it must be', cause);
  }
}

function badRecord(id: string, because: string, cause?: unknown): RequestError {
  return new RequestError('BadImage', `the record oci/${id} ${because}`, { hint: 'import the image again', cause });
}

/** Undefined if there is no such file. Throws `RequestError` BadImage if it is too long for one. */
function readFileOf(root: Fd, path: string): Buffer | undefined {
  using file = openObject(root, path as ByteString) || undefined;
  if (file === undefined) return undefined;
  const { size } = statFd(file);
  if (size > OCI_LIMITS.jsonBytes)
    throw new RequestError('BadImage', `${path} has ${size} bytes, which is too much for a record`);
  const bytes = Buffer.alloc(size);
  for (let done = 0; done < size;) {
    const count = readAt(file, bytes.subarray(done), done);
    if (count === 0) throw new RequestError('BadImage', `${path} became shorter while it was read`);
    done += count;
  }
  return bytes;
}
