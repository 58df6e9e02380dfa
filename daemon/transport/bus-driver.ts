// What org.freedesktop.DBus answers, checked.
import * as z from 'zod';

import { readDict } from '../../core/wire/variants.js';

const u32 = z.int().min(0).max(0xffff_ffff);
const credentialsSchema = z.object({
  UnixUserID: u32,
  UnixGroupIDs: z.array(u32).default([]),
  ProcessID: u32.optional(),
});

/** The dict of GetConnectionCredentials. Throws if it lacks the uid: without one there is nobody to authorise. */
export function parseCredentials(dict: unknown): { uid: number; gids: readonly number[]; pid: number | undefined } {
  const plain = Object.fromEntries([...readDict(dict)].map(([key, { value }]) => [key, value]));
  const { UnixUserID, UnixGroupIDs, ProcessID } = credentialsSchema.parse(plain);
  return { uid: UnixUserID, gids: UnixGroupIDs, pid: ProcessID };
}

export function parseErrorText(body: readonly unknown[]): string {
  return typeof body[0] === 'string' ? body[0] : 'no message';
}
