import * as z from 'zod';
import { FormatError } from '../image/format-error.js';
import { ProtocolError } from './protocol-error.js';
import { digestSchema } from './schemas.js';
import { readShapedDict, writeDict } from './variants.js';
import type { Dict, DictShape } from './variants.js';

// Each dict the service sends: its keys with their D-Bus types, and what a client takes from it. A client refuses keys it does not know.

const imageType = z.enum(['composefs', 'erofs']);
// Milliseconds since 1970: a number holds them exactly for longer than anybody will ask.
const milliseconds = z.bigint().transform((value) => Number(value));

const MOUNT_RESULT = { id: 't', digest: 's', rule: 's', verified: 's', type: 's', locked: 'b' } as const;
const mountResultSchema = z.strictObject({
  id: z.bigint(),
  digest: digestSchema,
  rule: z.string(),
  /** Measured by the kernel's fs-verity, or by hashing (a private copy, or a root-owned file in place). */
  verified: z.enum(['kernel', 'copy']),
  type: imageType,
  locked: z.boolean(),
});
export type MountResult = z.output<typeof mountResultSchema>;

const CHECK_REPORT = {
  verdict: 's',
  rule: 's',
  because: 's',
  hint: 's',
  digest: 's',
  type: 's',
  nosuid: 'b',
  noexec: 'b',
  considered: 'as',
} as const;
/** What is in the image: there unless nobody may know, because no rule trusts its digest for the caller. */
const CHECK_FACTS = {
  entries: 'u',
  devices: 'u',
  setuid: 'u',
  setgid: 'u',
  fcaps: 'u',
  'largest-uid': 'u',
  'largest-gid': 'u',
  canonical: 'b',
  'signed-by': 'as',
  'signature-problem': 's',
  objects: 'u',
} as const;
/** There if the objects were looked for. */
const CHECK_STORE = { missing: 'u' } as const;

const checkReportSchema = z.strictObject({
  /** 'ask': allowed if polkit grants it, which a check does not ask. */
  verdict: z.enum(['allow', 'ask', 'deny']),
  /** Empty on deny. */
  rule: z.string(),
  because: z.string(),
  /** What to do next; empty if there is nothing to do. */
  hint: z.string(),
  digest: digestSchema,
  type: imageType,
  nosuid: z.boolean(),
  noexec: z.boolean(),
  /** Each rule that was looked at and why it did or did not apply, one line each. */
  considered: z.array(z.string()),
});
const checkFactsSchema = z.strictObject({
  /** Names in the image, its root among them. */
  entries: z.number(),
  /** Device nodes; set-uid, set-gid and files with capabilities. */
  devices: z.number(),
  setuid: z.number(),
  setgid: z.number(),
  fcaps: z.number(),
  'largest-uid': z.number(),
  'largest-gid': z.number(),
  /** The image is a composefs image, and each of its bytes follows from its tree. */
  canonical: z.boolean(),
  /** Fingerprints (SHA-256) of trusted certificates whose signature over the digest was verified. */
  'signed-by': z.array(z.string()),
  /** Why a signature that was there counts for nothing; empty if there is none, or all count. */
  'signature-problem': z.string(),
  /** Objects that its files need. */
  objects: z.number(),
  /** Of them, how many none of the object stores has as a regular file; their content was not looked at. */
  missing: z.number().exactOptional(),
});
export type CheckFacts = z.output<typeof checkFactsSchema>;
const checkedImageSchema = z.union([
  checkReportSchema,
  z.strictObject({ ...checkReportSchema.shape, ...checkFactsSchema.shape }),
]);
export type CheckReport = z.output<typeof checkReportSchema> & Partial<CheckFacts>;

const IMAGE_ENTRY = { name: 's', digest: 's', rule: 's', repository: 's', type: 's' } as const;
const imageEntrySchema = z.strictObject({
  name: z.string(),
  digest: digestSchema,
  rule: z.string(),
  repository: z.string(),
  type: imageType,
});
export type ImageEntry = z.output<typeof imageEntrySchema>;

const MOUNT_ENTRY = { id: 't', uid: 'u', digest: 's', rule: 's', since: 't', userns: 't', type: 's', trusted: 'b' } as const;
const mountEntrySchema = z.strictObject({
  id: z.bigint(),
  uid: z.number(),
  digest: digestSchema,
  rule: z.string(),
  since: milliseconds,
  /** Inode number of the user namespace. */
  userns: z.bigint(),
  type: imageType,
  /** The policy in force now would trust the digest for this user. */
  trusted: z.boolean(),
});
/** `since` in milliseconds since 1970. */
export type MountEntry = z.output<typeof mountEntrySchema>;

const POLICY_SUMMARY = { rules: 'u', digests: 'u', repositories: 'u', loaded: 't' } as const;
const policySummarySchema = z.strictObject({
  rules: z.number(),
  digests: z.number(),
  repositories: z.number(),
  loaded: milliseconds,
});
/** How many of each the policy in force has, and when it was loaded in milliseconds since 1970. */
export type PolicySummary = z.output<typeof policySummarySchema>;

export const encodeMountResult = (result: MountResult): Dict => writeDict(MOUNT_RESULT, result);
export const encodeCheckReport = (report: CheckReport): Dict => {
  const facts = report.entries === undefined ? {} : CHECK_FACTS;
  const store = report.missing === undefined ? {} : CHECK_STORE;
  return writeDict({ ...CHECK_REPORT, ...facts, ...store }, report);
};
export const encodeImageEntry = (entry: ImageEntry): Dict => writeDict(IMAGE_ENTRY, entry);
export const encodeMountEntry = (entry: MountEntry): Dict => writeDict(MOUNT_ENTRY, entry);
export const encodePolicySummary = (summary: PolicySummary): Dict => writeDict(POLICY_SUMMARY, summary);

export const decodeMountResult = (dict: unknown): MountResult => decode(MOUNT_RESULT, mountResultSchema, dict);
export const decodeCheckReport = (dict: unknown): CheckReport =>
  decode({ ...CHECK_REPORT, ...CHECK_FACTS, ...CHECK_STORE }, checkedImageSchema, dict);
export const decodeImageEntries = (dicts: unknown): ImageEntry[] => decodeAll(IMAGE_ENTRY, imageEntrySchema, dicts);
export const decodeMountEntries = (dicts: unknown): MountEntry[] => decodeAll(MOUNT_ENTRY, mountEntrySchema, dicts);
export const decodePolicySummary = (dict: unknown): PolicySummary => decode(POLICY_SUMMARY, policySummarySchema, dict);

function decodeAll<T>(shape: DictShape, schema: z.ZodType<T>, dicts: unknown): T[] {
  if (!Array.isArray(dicts)) throw new ProtocolError('the service sent no list where one was due');
  return (dicts as readonly unknown[]).map((dict) => decode(shape, schema, dict));
}

function decode<T>(shape: DictShape, schema: z.ZodType<T>, dict: unknown): T {
  try {
    return schema.parse(readShapedDict(shape, dict));
  } catch (cause) {
    if (cause instanceof FormatError || cause instanceof z.ZodError)
      throw new ProtocolError('the service sent a result of another form', { cause });
    throw cause;
  }
}
