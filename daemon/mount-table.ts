// The live mounts in a file of memory that outlives the process: one slot for each, and one at the head. A slot is written by one call and
// never crosses a page, so that a process that is killed has written it whole or not at all.
import * as z from 'zod';

import { parseVerityDigest } from '../core/image/digest.js';
import type { Fd } from '../core/kernel/fd.js';
import { readAt, writeAllAt } from '../core/kernel/file.js';
import { statFd } from '../core/kernel/stat.js';
import type { LiveMount } from './live-mount.js';

const SLOT = 1024;
const VERSION = 1;

export interface MountTable {
  /** The mounts it holds, by the number of their watch. */
  mounts(): ReadonlyMap<number, LiveMount>;
  /** A number for the next mount that none before it had. */
  nextId(): bigint;
  put(watch: number, mount: LiveMount): void;
  remove(watch: number): void;
}

const wide = z
  .string()
  .regex(/^\d{1,20}$/)
  .transform(BigInt);
const headSchema = z.strictObject({ version: z.literal(VERSION), nextId: wide });
const slotSchema = z.strictObject({
  watch: z.int().min(0),
  id: wide,
  uid: z.int().min(0),
  payer: z.int().min(0),
  digest: z.string().transform(parseVerityDigest),
  rule: z.string(),
  signer: z.string().exactOptional(),
  since: z.int(),
  userns: wide,
  type: z.enum(['composefs', 'erofs']),
});

function encodeSlot(value: object): Buffer {
  const slot = Buffer.alloc(SLOT);
  const text = JSON.stringify(value, (_, item: unknown) => (typeof item === 'bigint' ? String(item) : item));
  const length = slot.write(text, 2);
  if (length < Buffer.byteLength(text)) throw new RangeError('a mount does not fit its slot of the table');
  slot.writeUInt16LE(length, 0);
  return slot;
}

/** Undefined for an empty slot. Throws on anything that this version did not write. */
function decodeSlot<T>(slot: Buffer, schema: z.ZodType<T>): T | undefined {
  const length = slot.readUInt16LE(0);
  return length === 0 ? undefined : schema.parse(JSON.parse(slot.toString('utf8', 2, 2 + length)));
}

function readSlots(file: Fd): Buffer[] {
  const { size } = statFd(file);
  if (size % SLOT !== 0) throw new RangeError(`${size} bytes are not a table`);
  const bytes = Buffer.alloc(size);
  if (readAt(file, bytes, 0) !== size) throw new RangeError('the table cannot be read to its end');
  return Array.from({ length: size / SLOT }, (_, i) => bytes.subarray(i * SLOT, (i + 1) * SLOT));
}

/** Opens a table, or makes one of an empty file. The file stays the caller's. Throws if it is not a table of this version. */
export function openMountTable(file: Fd): MountTable {
  const [head, ...slots] = readSlots(file);
  const mounts = new Map<number, LiveMount>();
  const places = new Map<number, number>();
  const free: number[] = [];
  let count = slots.length;
  let nextId = (head && decodeSlot(head, headSchema)?.nextId) ?? 1n;
  for (const [index, slot] of slots.entries()) {
    const stored = decodeSlot(slot, slotSchema);
    if (!stored) {
      free.push(index + 1);
      continue;
    }
    const { watch, ...mount } = stored;
    mounts.set(watch, mount);
    places.set(watch, index + 1);
  }

  const write = (place: number, slot: Buffer): void => writeAllAt(file, slot, place * SLOT);
  const writeHead = (): void => write(0, encodeSlot({ version: VERSION, nextId }));
  if (!head) writeHead();

  return {
    mounts: () => mounts,
    nextId() {
      const id = nextId;
      nextId += 1n;
      writeHead();
      return id;
    },
    put(watch, mount) {
      const place = free.pop() ?? ++count;
      write(place, encodeSlot({ watch, ...mount }));
      mounts.set(watch, mount);
      places.set(watch, place);
    },
    remove(watch) {
      const place = places.get(watch);
      if (place === undefined) return;
      write(place, Buffer.alloc(SLOT));
      mounts.delete(watch);
      places.delete(watch);
      free.push(place);
    },
  };
}
