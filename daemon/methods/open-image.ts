// From what a caller named or handed in to an image whose bytes are known and fixed.
import { digestAlgorithm, type VerityAlgorithm, type VerityDigest } from '../../core/image/digest.js';
import type { ImageHeader } from '../../core/image/superblock.js';
import type { OwnedFd } from '../../core/kernel/fd.js';
import { RequestError } from '../../core/wire/errors.js';
import type { CheckFileRequest, CheckImageRequest, ImageOptions } from '../../core/wire/requests.js';
import { findTrust } from '../../policy/decide.js';
import type { FoundName, KnownImage } from '../../policy/policy.js';
import { judgedCaller } from '../judged-caller.js';
import { readImageHeader, type MeasuredImage } from '../measure.js';
import { findImage, type FoundImage, type Repository } from '../repositories.js';
import { algorithmsToTry, requireAnyRule, requireExpectedDigest, requireTrusted, type Service } from '../service.js';
import { asksForSigners, findSigners, type SignatureFacts } from '../signatures.js';
import type { Caller } from '../transport/peer.js';

export interface OpenedImage extends MeasuredImage, SignatureFacts {
  readonly header: ImageHeader;
  /** The name it was looked up by. */
  readonly found?: FoundName | undefined;
  /** Where its objects are looked for unless the caller brings stores. */
  readonly repositories: readonly Repository[];
  [Symbol.dispose](): void;
}

/** Takes the file, and closes it when it throws. */
function opened(service: Service, measured: MeasuredImage, options: ImageOptions, where: FoundIn): OpenedImage {
  try {
    const signers = findSigners(service.current(), measured.digest, options);
    const header = readImageHeader(measured.file);
    return { ...measured, ...signers, header, ...where, [Symbol.dispose]: () => measured.file.close() };
  } catch (error) {
    measured.file.close();
    throw error;
  }
}

type FoundIn = Pick<OpenedImage, 'repositories' | 'found'>;

function noSuchImage(): RequestError {
  return new RequestError('NoSuchImage', 'no repository has this image', {
    hint: 'cfsctl images lists what you may mount; an image of your own is given as a file: ./IMAGE',
  });
}

/** An image of a repository. Trust is asked for before the image is touched: `mustBeAllowed` for a mount, not for a check. */
export async function openRepositoryImage(
  service: Service,
  { image, options }: CheckImageRequest,
  caller: Caller,
  mustBeAllowed: boolean,
): Promise<OpenedImage> {
  if (mustBeAllowed) {
    if (image.kind === 'digest') requireTrusted(service, knownImage(service, image.digest, options), caller);
    else requireAnyRule(service, caller, true);
  }
  const found = findImage(service.current().repositories, image);
  if (!found) throw noSuchImage();
  const name = nameOf(found, image);
  if (mustBeAllowed) {
    try {
      requireTrusted(service, { ...knownImage(service, found.claimed, options), found: name }, caller);
    } catch (error) {
      found.file.close();
      throw error;
    }
  }
  const measured = await service.measurer.measureRepositoryFile(found.file, digestAlgorithm(found.claimed), caller.uid);
  try {
    if (measured.digest !== found.claimed) {
      throw new RequestError('BadImage', `the image has the digest ${measured.digest}, not the one its name says`);
    }
    requireExpectedDigest(measured.digest, options);
  } catch (error) {
    measured.file.close();
    throw error;
  }
  return opened(service, measured, options, { repositories: [found.repository], found: name });
}

/** An image as far as its digest tells, and its signatures if a rule asks for them. */
function knownImage(service: Service, digest: VerityDigest, options: ImageOptions): KnownImage {
  const loaded = service.current();
  return asksForSigners(loaded) ? { digest, ...findSigners(loaded, digest, options) } : { digest };
}

/** The digest is the one that the repository has under this name, so the name is no claim of the caller's. */
function nameOf({ repository }: FoundImage, image: CheckImageRequest['image']): FoundName | undefined {
  return image.kind === 'name' ? { repository: repository.path, name: image.name } : undefined;
}

/** Measured by each algorithm that could find a rule, until one does. */
async function measureUntilAllowed(
  service: Service,
  file: OwnedFd,
  algorithms: readonly VerityAlgorithm[],
  options: ImageOptions,
  caller: Caller,
  payer: number,
): Promise<MeasuredImage> {
  const loaded = service.current();
  const judged = judgedCaller(loaded, caller, payer);
  let measured: MeasuredImage | undefined;
  for (const algorithm of algorithms) {
    measured = await service.measurer.measureCallerFile(measured?.file ?? file, algorithm, payer);
    if (
      measured.verified === 'kernel' ||
      findTrust(loaded.policy, knownImage(service, measured.digest, options), judged, Date.now()).verdict === 'trusted'
    )
      break;
  }
  return measured!;
}

/**
 * An image the caller handed in. If it says which digest it expects and a copy of that is kept, the copy is what gets mounted, and the
 * caller's file need not be read at all: the copy has the very bytes that the digest names. `file` stays the caller's to close.
 */
export async function openCallerImage(
  service: Service,
  file: OwnedFd,
  { options }: CheckFileRequest,
  caller: Caller,
  payer: number,
): Promise<OpenedImage> {
  const useful = requireAnyRule(service, caller, false);
  const { repositories } = service.current();
  const { digest } = options;
  const copy = digest === undefined ? undefined : service.copies.find(digest, payer);
  if (digest !== undefined && copy) return opened(service, { file: copy, digest, verified: 'copy' }, options, { repositories });
  const measured = await measureUntilAllowed(service, file, algorithmsToTry(useful, options), options, caller, payer);
  try {
    requireExpectedDigest(measured.digest, options);
  } catch (error) {
    measured.file.close();
    throw error;
  }
  return opened(service, measured, options, { repositories });
}
