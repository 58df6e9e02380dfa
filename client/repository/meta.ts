// meta.json of a repository, as composefs-rs writes and reads it.
import type { VerityAlgorithm } from '../../core/image/digest.js';
import { FormatError } from '../../core/image/format-error.js';

export interface RepositoryMeta {
  readonly algorithm: VerityAlgorithm;
  /** Why nothing may be written there; undefined if it may. */
  readonly readOnly: string | undefined;
}

const VERSION = 1;
/** Features of which a writer has to know. The one that is known says that images have a format that mkcomposefs knows. */
const KNOWN_TO_WRITERS: readonly string[] = ['v1_erofs'];

const ALGORITHMS: Readonly<Record<string, VerityAlgorithm>> = {
  'fsverity-sha256-12': 'sha256',
  'fsverity-sha512-12': 'sha512',
};

/** What a new repository says: composefs-rs then makes images of the format that the service mounts. */
export const NEW_META = `${JSON.stringify(
  {
    version: VERSION,
    algorithm: 'fsverity-sha256-12',
    features: { compatible: [], 'read-only-compatible': KNOWN_TO_WRITERS, incompatible: [] },
    erofs_formats: { default: 1 },
  },
  undefined,
  2,
)}\n`;

/** Throws FormatError. */
export function parseMeta(text: string): RepositoryMeta {
  const meta = parseObject(text);
  const { version } = meta;
  if (version !== VERSION)
    throw new FormatError('repository-version', `meta.json is not of version ${VERSION}, the only one that is known`);
  const { algorithm } = meta;
  if (typeof algorithm !== 'string' || !Object.hasOwn(ALGORITHMS, algorithm))
    throw new FormatError(
      'repository-algorithm',
      `meta.json has an unknown algorithm; known are ${Object.keys(ALGORITHMS).join(', ')}`,
    );
  const { features } = meta;
  if (listOf(features, 'incompatible').length > 0)
    throw new FormatError('repository-features', 'the repository has features that are not known here');
  const unknown = listOf(features, 'read-only-compatible').filter((feature) => !KNOWN_TO_WRITERS.includes(feature as string));
  const readOnly =
    unknown.length > 0 ? 'the repository has features that writers must know, and these are not known here' : undefined;
  return { algorithm: ALGORITHMS[algorithm] as VerityAlgorithm, readOnly };
}

function parseObject(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw new FormatError('repository-meta', 'meta.json is not a JSON object');
}

function listOf(features: unknown, key: string): readonly unknown[] {
  const list = (features as Record<string, unknown> | null | undefined)?.[key] ?? [];
  if (!Array.isArray(list)) throw new FormatError('repository-features', `meta.json: features.${key} is not a list`);
  return list;
}
