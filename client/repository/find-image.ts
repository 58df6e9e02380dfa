import { type VerityDigest, parseVerityDigest } from '../../core/image/digest.js';
import { FormatError } from '../../core/image/format-error.js';
import { RequestError } from '../../core/wire/errors.js';
import { requireImageName } from '../../core/wire/image-name.js';
import { REFS, digestOfRef, hasImageEntry, readLink } from './entries.js';
import type { Repository } from './repository.js';

/** Throws `RequestError` BadRequest. */
export function requireName(name: string): string {
  return orBadRequest(() => requireImageName(name));
}

/** The digest of an image of the repository, given by digest or name. Throws `RequestError` BadRequest or NoSuchImage. */
export function findImage({ root, path }: Repository, image: string): VerityDigest {
  const digest = image.includes(':') ? orBadRequest(() => parseVerityDigest(image)) : followName(requireName(image));
  if (digest !== undefined && hasImageEntry(root, digest)) return digest;
  throw new RequestError('NoSuchImage', `the repository ${path} has no image ${image}`, {
    hint: 'cfsctl import puts an image there; --repo names another repository',
  });

  function followName(name: string): VerityDigest | undefined {
    return digestOfRef({ path: name, target: readLink(root, `${REFS}/${name}`) });
  }
}

function orBadRequest<T>(parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause;
    throw new RequestError('BadRequest', cause.message, { cause });
  }
}
