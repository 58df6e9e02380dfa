// What `podman volume create --driver cfs -o KEY=VALUE` may say: the same words as the options of cfsctl mount.
import * as z from 'zod';
import { parseVerityDigest } from '../../core/image/digest.js';
import { FormatError } from '../../core/image/format-error.js';
import { RequestError } from '../../core/wire/errors.js';
import { requireImageName } from '../../core/wire/image-name.js';

export interface Volume {
  /** A digest, or a name in a repository of the service. */
  readonly image: string;
  /** What the image must turn out to have each time it is mounted. */
  readonly digest?: string | undefined;
  readonly nosuid?: true | undefined;
  readonly noexec?: true | undefined;
}

const KEYS = 'image, digest, nosuid, noexec';

/** Throws `RequestError` BadRequest for an option that is unknown, or a value that cannot be. */
export function parseVolumeOptions(options: Readonly<Record<string, string>>): Volume {
  let volume: Partial<Volume> = {};
  for (const [key, value] of Object.entries(options)) volume = { ...volume, ...parseOption(key, value) };
  const { image } = volume;
  if (image === undefined)
    throw new RequestError('BadRequest', 'the volume has no image', { hint: 'add -o image=NAME or -o image=sha256:…' });
  return { ...volume, image };
}

function parseOption(key: string, value: string): Partial<Volume> {
  if (key === 'image') return { image: requireImage(value) };
  if (key === 'digest') return { digest: requireForm(key, () => parseVerityDigest(value)) };
  if (key === 'nosuid' || key === 'noexec') return requireYes(key, value) ? { [key]: true } : {};
  throw new RequestError('BadRequest', `the volume option ${key} is unknown`, { hint: `these are known: ${KEYS}` });
}

function requireImage(value: string): string {
  return requireForm('image', () => (value.includes(':') ? parseVerityDigest(value) : requireImageName(value)));
}

/** `-o nosuid` comes with an empty value. */
function requireYes(key: string, value: string): boolean {
  if (value === '' || value === 'true') return true;
  if (value === 'false') return false;
  throw new RequestError('BadRequest', `${key} is neither true nor false`);
}

function requireForm(key: string, parse: () => string): string {
  try {
    return parse();
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause;
    throw new RequestError('BadRequest', `${key}: ${cause.message}`, { cause });
  }
}

const restriction = z.literal(true).optional();

/** The form of a volume in its file. */
export const volumeFile = z.strictObject({
  version: z.literal(1),
  image: z.string().transform(requireImage),
  digest: z
    .string()
    .transform((value) => requireForm('digest', () => parseVerityDigest(value)))
    .optional(),
  nosuid: restriction,
  noexec: restriction,
});
