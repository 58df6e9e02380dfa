import * as z from 'zod';
import { parseVerityDigest } from '../image/digest.js';
import type { VerityDigest } from '../image/digest.js';
import { FormatError } from '../image/format-error.js';
import { MAX_SIGNATURE_BYTES } from '../image/verity-signature.js';
import { requireImageName } from './image-name.js';
import { quoteClientText } from './quote.js';
import { readDict, readShapedDict } from './variants.js';
import type { DictShape } from './variants.js';

/** Position of an fd among those that came with a message. Whether there is one is for the list of fds to say. */
export type FdIndex = number & { readonly __brand: 'FdIndex' };

const MAX_UINT32 = 0xffff_ffff;
export const fdIndexSchema = z
  .int('expected a file descriptor (signature h)')
  .min(0)
  .max(MAX_UINT32)
  .transform((index) => index as FdIndex);

export const digestSchema = z
  .string('expected a string (signature s)')
  .transform((text, context): VerityDigest => orIssue(context, text, () => parseVerityDigest(text)));

export const signatureSchema = z
  .instanceof(Uint8Array, { error: 'expected bytes (signature ay)' })
  .refine(({ length }) => length > 0 && length <= MAX_SIGNATURE_BYTES, `a signature has 1 to ${MAX_SIGNATURE_BYTES} bytes`);

/** Text that holds a colon is meant as a digest: a name cannot, so a misspelt digest is never looked up as a name. */
export type ImageRef =
  | { readonly kind: 'digest'; readonly digest: VerityDigest }
  | { readonly kind: 'name'; readonly name: string };

export const imageRefSchema = z
  .string('expected a string (signature s)')
  .transform((text, context): ImageRef =>
    orIssue(context, text, () =>
      text.includes(':') ? { kind: 'digest', digest: parseVerityDigest(text) } : { kind: 'name', name: requireImageName(text) },
    ),
  );

/** `a{sv}` options: each known to `shape`, of the D-Bus type it has there, at most once; then `schema`. */
export function optionsOf<T extends z.ZodType>(shape: DictShape, schema: T): z.ZodPipe<z.ZodTransform<unknown, unknown>, T> {
  return z
    .transform((pairs: unknown, context): unknown =>
      orIssue(context, pairs, () => {
        for (const key of readDict(pairs).keys()) requireKnown(Object.keys(shape), key);
        return readShapedDict(shape, pairs);
      }),
    )
    .pipe(schema);
}

function requireKnown(known: readonly string[], key: string): void {
  if (known.includes(key)) return;
  const allowed = known.length === 0 ? 'this method has no options' : `allowed: ${known.join(', ')}`;
  throw new FormatError('option-unknown', `unknown option ${quoteClientText(key)}; ${allowed}`);
}

function orIssue<T>(context: z.core.$RefinementCtx, input: unknown, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    context.issues.push({ code: 'custom', message: error.message, input });
    return z.NEVER;
  }
}
