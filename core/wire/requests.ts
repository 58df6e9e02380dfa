import * as z from 'zod';
import type { VerityDigest } from '../image/digest.js';
import { MOUNT_INTERFACE, findMember } from './contract.js';
import { RequestError } from './errors.js';
import { digestSchema, fdIndexSchema, imageRefSchema, optionsOf, signatureSchema } from './schemas.js';
import type { FdIndex, ImageRef } from './schemas.js';

/** What a caller expects and adds; it may only make a mount more restricted. */
export interface ImageOptions {
  /** The digest the image must turn out to have. */
  readonly digest?: VerityDigest;
  readonly nosuid: boolean;
  readonly noexec: boolean;
  /** A detached PKCS#7 signature over the digest of the image; not looked at yet. */
  readonly signature?: Uint8Array;
}

export interface CheckImageRequest {
  readonly image: ImageRef;
  readonly options: ImageOptions;
}

export interface MountImageRequest extends CheckImageRequest {
  readonly userns: FdIndex;
}

export interface CheckFileRequest {
  readonly file: FdIndex;
  /** Object stores, at most 16, searched in this order. */
  readonly objects: readonly FdIndex[];
  readonly options: ImageOptions;
}

export interface MountFileRequest extends CheckFileRequest {
  readonly userns: FdIndex;
}

// Each store is one more layer of an overlay.
export const MAX_OBJECT_STORES = 16;

const imageOptions = optionsOf(
  { digest: 's', nosuid: 'b', noexec: 'b', signature: 'ay' },
  z.strictObject({
    digest: digestSchema.exactOptional(),
    nosuid: z.boolean().default(false),
    noexec: z.boolean().default(false),
    signature: signatureSchema.exactOptional(),
  }),
);
const noOptions = optionsOf({}, z.strictObject({}));
const objects = z
  .array(fdIndexSchema, 'expected an array of file descriptors (signature ah)')
  .max(MAX_OBJECT_STORES, `at most ${MAX_OBJECT_STORES} object stores`);

const checkImage = z.strictObject({ image: imageRefSchema, options: imageOptions });
const mountImage = checkImage.extend({ userns: fdIndexSchema });
const checkFile = z.strictObject({ file: fdIndexSchema, objects, options: imageOptions });
const mountFile = checkFile.extend({ userns: fdIndexSchema });
const list = z.strictObject({ options: noOptions });

// Each takes the body of a call whose signature is the one in the contract, and throws RequestError BadRequest.
export const parseMountImage = (body: readonly unknown[]): MountImageRequest => parse('MountImage', mountImage, body);
export const parseMountFile = (body: readonly unknown[]): MountFileRequest => parse('MountFile', mountFile, body);
export const parseCheckImage = (body: readonly unknown[]): CheckImageRequest => parse('CheckImage', checkImage, body);
export const parseCheckFile = (body: readonly unknown[]): CheckFileRequest => parse('CheckFile', checkFile, body);
/** Neither list has options yet; an option is an error. */
export const parseListImages = (body: readonly unknown[]): void => void parse('ListImages', list, body);
export const parseListMounts = (body: readonly unknown[]): void => void parse('ListMounts', list, body);

function parse<T>(method: string, schema: z.ZodType<T>, body: readonly unknown[]): T {
  const args = findMember(MOUNT_INTERFACE, method)?.in ?? [];
  if (body.length !== args.length) throw new RequestError('BadRequest', `${method} takes ${args.length} arguments`);
  const parsed = schema.safeParse(Object.fromEntries(args.map(({ name }, index) => [name, body[index]])));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new RequestError('BadRequest', describeIssue(issue));
}

// Where in the request, and what is allowed there. No message of a schema repeats client text but through quoteClientText.
function describeIssue(issue: z.core.$ZodIssue | undefined): string {
  return issue === undefined ? 'malformed request' : `${issue.path.map(String).join('.')}: ${issue.message}`;
}
