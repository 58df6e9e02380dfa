// The one image of a source that is meant.
import { RequestError } from '../../../core/wire/errors.js';
import type { OciLimits } from '../limits.js';
import { badImage, type OciPlatform } from './blobs.js';
import { listDockerImages } from './docker-archive.js';
import type { Candidate, SourceImage } from './image.js';
import { listLayoutImages } from './oci-layout.js';
import { formatPlatform, matchesPlatform, ownPlatform } from './platform.js';
import type { Source } from './source.js';

export interface Choice {
  readonly platform: OciPlatform | undefined;
  /** One of the names of an image. */
  readonly image: string | undefined;
}

/** Throws `RequestError` if it is not clear which image is meant, or the image is not as it must be. */
export function chooseImage(source: Source, choice: Choice, limits: OciLimits): SourceImage {
  const image = chooseCandidate(source, candidatesOf(source, limits), choice).read();
  const { os, rootfs } = image.parsed;
  if (os !== 'linux') throw badImage(source, `the image is for ${formatPlatform(image.parsed)}, not for Linux`);
  const count = rootfs.diff_ids.length;
  if (count !== image.layers.length)
    throw badImage(source, `the configuration speaks of ${count} layers, and the image has ${image.layers.length}`);
  if (count > limits.layers) throw badImage(source, `the image has ${count} layers, more than ${limits.layers}`);
  return image;
}

function candidatesOf(source: Source, limits: OciLimits): readonly Candidate[] {
  const has = (name: string): boolean => {
    using file = source.open(name);
    return file !== undefined;
  };
  if (has('oci-layout') && has('index.json')) return listLayoutImages(source, limits);
  if (has('manifest.json')) return listDockerImages(source, limits);
  throw badImage(source, 'it is neither an OCI layout nor a docker-archive', 'cfsctl import takes directories and image files');
}

function chooseCandidate(source: Source, all: readonly Candidate[], { platform, image }: Choice): Candidate {
  const named = image === undefined ? all : all.filter(({ names }) => names.includes(image));
  if (named.length === 0) throw notFound(source, `an image ${image ?? ''}`.trimEnd(), all);
  const wanted = platform ?? (named.length > 1 ? ownPlatform() : undefined);
  const matching = wanted === undefined ? named : named.filter((one) => matchesPlatform(one.platform(), wanted));
  const [first, ...others] = matching;
  if (first === undefined) throw notFound(source, `an image for ${wanted === undefined ? '?' : formatPlatform(wanted)}`, named);
  if (others.length === 0) return first;
  throw new RequestError(
    'BadRequest',
    `${source.path} has several images: ${list(matching.map(({ names }) => names[0] ?? '?'))}`,
    {
      hint: 'say with --image which one is meant',
    },
  );
}

function notFound({ path }: Source, what: string, all: readonly Candidate[]): RequestError {
  const there = all.map((one) => `${one.names[0] ?? '?'} (${formatPlatform(one.platform())})`);
  return new RequestError('NoSuchImage', `${path} does not have ${what}`, {
    hint: there.length === 0 ? undefined : `it has ${list(there)}`,
  });
}

function list(items: readonly string[]): string {
  const shown = items.slice(0, 8).join(', ');
  return items.length > 8 ? `${shown} and ${items.length - 8} more` : shown;
}
