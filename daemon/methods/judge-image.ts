// The decision about an image, in the order that costs least: its digest, then what is in it, then where its files point.
import { statFd } from '../../core/kernel/stat.js';
import { RequestError } from '../../core/wire/errors.js';
import type { ImageOptions } from '../../core/wire/requests.js';
import type { JudgedImage } from '../../policy/policy.js';
import { requireTrusted, type Service } from '../service.js';
import { findSigners, type SignatureFacts } from '../signatures.js';
import type { Caller } from '../transport/peer.js';
import type { FoundFacts } from '../worker/jobs.js';
import type { Payer } from '../worker/pool.js';
import type { OpenedImage } from './open-image.js';

/** What is in an image whose digest is trusted for the caller; nothing is read for anybody else. Throws NotTrusted or BadImage. */
export async function readTrusted(service: Service, image: OpenedImage, caller: Caller, user: Payer): Promise<FoundFacts> {
  const { asksCanonical } = requireTrusted(service, image, caller);
  return service.facts.find(image, { canonical: asksCanonical, user });
}

/** What the policy in force now is asked about: a certificate that had signed the image may count no more. */
export function judgeNow(service: Service, image: OpenedImage, facts: FoundFacts, options: ImageOptions): JudgedImage {
  return judgedImage(image, facts, findSigners(service.current(), image.digest, options));
}

/** What the policy is asked about. */
export function judgedImage(image: OpenedImage, facts: FoundFacts, signers: SignatureFacts = image): JudgedImage {
  const { digest, found } = image;
  const { signedBy = [], signatureProblem } = signers;
  const problem = signatureProblem === undefined ? {} : { signatureProblem };
  return { digest, found, signedBy, ...problem, contents: { ...facts, size: statFd(image.file).size } };
}

function files(count: number): string {
  return `${count} ${count === 1 ? 'file' : 'files'}`;
}

/**
 * Refuses an image whose files point anywhere but into the object stores, and, where the kernel has to hold objects to their digests, one whose files have none or
 * lie elsewhere. overlayfs follows a redirect with the daemon's rights: that it stops at the root of a store is its promise, and this one is ours.
 */
export function requirePlacedObjects({ escaping, unpinned, misdirected }: FoundFacts, requireVerity: boolean): void {
  if (escaping > 0)
    throw new RequestError('BadImage', `the image has ${files(escaping)} whose redirect is not a plain path in an object store`, {
      hint: 'make the image again without "..", "." and empty parts in its payloads',
    });
  if (!requireVerity) return;
  if (unpinned > 0)
    throw new RequestError(
      'BadImage',
      `the image has ${files(unpinned)} without a digest, and the object store cannot be trusted`,
      {
        hint: 'make the image again with digests: mkcomposefs --digest-store',
      },
    );
  if (misdirected > 0)
    throw new RequestError('BadImage', `the image has ${files(misdirected)} whose redirect is not the place of their digest`, {
      hint: 'make the image again with objects named by digest: mkcomposefs --digest-store',
    });
}
